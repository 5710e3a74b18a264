"""The files of all layers as one tree, the later ones over the earlier, as overlayfs shows them.

https://github.com/opencontainers/image-spec/blob/main/layer.md and how Docker unpacks (pkg/archive/diff.go).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from gpucheck.images.index import Attributes, Content, Index, Row
from gpucheck.images.records import ImageError

#: Folders that no layer describes.
IMPLIED: Final[Attributes] = ("directory", 0o755, 0, 0, None, ())
MAX_LINKS: Final = 40


class Union:
    """Files by number. Columns and plain dictionaries, because there can be a million."""

    def __init__(self) -> None:
        self._kinds: list[Attributes] = []
        self._known: dict[Attributes, int] = {}
        self._attributes = array("H")
        self._sizes = array("Q")
        self._layers = array("H")
        self.links: dict[int, str] = {}
        self.contents: dict[int, Content] = {}
        self.folders: dict[int, dict[str, int]] = {}
        self._layer = 0
        self.root = self._new(IMPLIED, 0)
        self.folders[self.root] = {}

    def attributes(self, number: int) -> Attributes:
        """Kind, mode, owner and device of a file."""
        return self._kinds[self._attributes[number]]

    def size(self, number: int) -> int:
        """Its size."""
        return self._sizes[number]

    def layer(self, number: int) -> int:
        """The layer that it is from, counted from 0, the lowest."""
        return self._layers[number]

    def apply(self, index: Index, layer: int) -> None:
        """Put a layer over those that are there. Raises ``ImageError`` for a hard link to nothing."""
        self._layer = layer
        # A whiteout hides what lower layers have, wherever it stands in its own.
        for path in index.opaque:
            number = self._find(path)
            if number is not None and number in self.folders:
                self.folders[number].clear()
        for path in index.whiteouts:
            above, _, name = path.rpartition("/")
            number = self._find(above)
            if number is not None:
                self.folders.get(number, {}).pop(name, None)
        last, names = "", self.folders[self.root]
        for row in index.rows():
            above, _, name = row.path.rpartition("/")
            if above != last:
                last, names = above, self._folder(above)
            if row.attributes[0] == "hard link":
                target = self._find(row.link)
                if target is None or target in self.folders:
                    raise ImageError(
                        f"not a sound layer: {row.path[:200]!r} is a hard link to {row.link[:200]!r}, no file"
                    )
                names[name] = target
            elif not name:
                self._describe(self.root, row)
            elif (there := names.get(name)) is not None and there in self.folders and row.attributes[0] == "directory":
                self._describe(there, row)
            else:
                names[name] = self._add(row)
                if there is not None and there in self.folders:
                    last = "\0"  # A folder that is remembered may have been below it.

    def paths(self) -> Iterator[tuple[str, int]]:
        """Every path, with a leading slash, and its number."""
        todo = [("", self.root)]
        while todo:
            path, number = todo.pop()
            yield path or "/", number
            todo += ((f"{path}/{name}", each) for name, each in self.folders.get(number, {}).items())

    def _new(self, attributes: Attributes, size: int) -> int:
        kind = self._known.setdefault(attributes, len(self._known))
        if kind == len(self._kinds):
            if kind > 0xFFFF:
                raise ImageError("more than 65536 kinds of owners and modes: it is not read")
            self._kinds.append(attributes)
        self._attributes.append(kind)
        self._sizes.append(size)
        self._layers.append(self._layer)
        return len(self._sizes) - 1

    def _add(self, row: Row) -> int:
        number = self._new(row.attributes, row.size)
        kind = row.attributes[0]
        if kind == "directory":
            self.folders[number] = {}
        elif kind == "link":
            self.links[number] = row.link
        if row.content is not None:
            self.contents[number] = row.content
        return number

    def _describe(self, folder: int, row: Row) -> None:
        if row.attributes[0] != "directory":
            raise ImageError("not a sound layer: its root is no folder")
        other = self._new(row.attributes, row.size)
        self._attributes[folder] = self._attributes[other]
        self._layers[folder] = self._layer

    def _find(self, path: str) -> int | None:
        """The number at a path whose folders are no links."""
        number: int | None = self.root
        for part in path.split("/") if path else ():
            number = self.folders.get(number, {}).get(part) if number is not None else None
        return number

    def _folder(self, path: str) -> dict[str, int]:
        """The names in a folder, which is made where it is missing.

        A link of this same layer is followed, as it is when the layer is unpacked; one of a lower layer is replaced,
        because each layer is unpacked into a folder of its own.
        """
        todo = [part for part in reversed(path.split("/")) if part]
        above = [self.root]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                above = above[:-1] or above
                continue
            names = self.folders[above[-1]]
            number = names.get(part)
            if number is not None and number in self.links and self._layers[number] == self._layer:
                links += 1
                if links > MAX_LINKS:
                    raise ImageError(f"not a sound layer: too many links in {path[:200]!r}")
                target = self.links[number]
                if target.startswith("/"):
                    above = [self.root]
                todo += [step for step in reversed(target.split("/")) if step not in ("", ".")]
                continue
            if number is None or number not in self.folders:
                number = names[part] = self._new(IMPLIED, 0)
                self.folders[number] = {}
            above.append(number)
        return self.folders[above[-1]]
