"""What the dynamic linker does with the libraries."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules.rule import Layer, need, rule


@rule(Layer.LIBRARIES)
def loading_differs_from_prediction(snapshot: Snapshot) -> Iterator[Complaint]:
    """The dynamic linker did not do what `gpucheck libs` predicts.

    `gpucheck trace` compares what a command really loaded with what the model of the dynamic linker and the table of
    libraries that are opened by name say. A difference is about gpucheck, or about files or variables that changed while
    the command ran; what the trace lists is what really happened.

    Confirm: run the command again with `gpucheck trace`.
    Remedy: report it with `gpucheck trace --format json --output trace.json -- COMMAND`.
    Reference: ld.so(8)
    """
    if isinstance(snapshot.differences, Unseen) and snapshot.differences.why is Why.NOT_APPLICABLE:
        return  # No command was traced: there is nothing to compare.
    differences = need(snapshot.differences)
    if not differences:
        return
    count = len(differences)
    yield Complaint(
        Severity.NOTE,
        f"The dynamic linker did not do what gpucheck libs predicts, for {count} {'library' if count == 1 else 'libraries'}",
        "Either gpucheck's model of the dynamic linker or its table of what is opened by name is wrong, or files or "
        "variables changed while the command ran. What is listed above is what really happened.",
        tuple(
            Evidence(
                f"{each.soname}, asked for by {each.requester or 'somebody'}: predicted {each.predicted}",
                f"seen: {each.observed}",
            )
            for each in differences[:8]
        ),
        "Nothing needs to be repaired here. Report it to gpucheck with: gpucheck trace --format json --output trace.json -- COMMAND",
    )
