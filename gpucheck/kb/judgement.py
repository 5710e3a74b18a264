"""What the knowledge base answers: yes, no or cannot tell, why, and from which row."""

from __future__ import annotations

from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """An answer that rests on rows, or on what holds by construction where there is no row."""

    holds: bool | None
    """None: it cannot be told."""
    because: str
    """One sentence, without a full stop."""
    reference: str
    """The source of the row that it rests on."""
    extrapolated: bool = False
    """No row names this very thing; the answer follows from a rule and the nearest rows."""

    @property
    def evidence(self) -> str:
        """The sentence, and that it is an extrapolation where it is one."""
        return (
            f"{self.because} (an extrapolation: the knowledge base has no row for it)"
            if self.extrapolated
            else self.because
        )
