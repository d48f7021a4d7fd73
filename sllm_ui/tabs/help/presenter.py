"""What the help shows: a page, the way back, what a search found. Knows no widgets."""

from dataclasses import dataclass, replace

from sllm_ui import paths
from sllm_ui.actions import ACTIONS
from sllm_ui.bus import Store
from sllm_ui.tabs.help import pages
from sllm_ui.tabs.help.pages import Block, Hit, Span

MAX_HISTORY = 50
MIN_PARTS = 4  # with fewer a page needs no list of its parts


@dataclass(frozen=True)
class Entry:
    """One page in the list at the left; the name is its file in ``help/``."""

    name: str
    title: str
    icon: str
    tip: str


# fmt: off
ENTRIES: tuple[Entry, ...] = (
    Entry("index", "Start here", "stars", "A first model in five minutes."),
    Entry("data", "Data", "database", "Sources, what is read, tokenizer, preparing."),
    Entry("refine", "Refine", "funnel", "Scores, copies, keys, trash and undo, leaks."),
    Entry("train", "Train", "graph-up", "Presets, every number, the loss curve, pause and stop."),
    Entry("test", "Test", "chat-square-text", "Writing with a model, and what the sliders do."),
    Entry("monitor", "Monitor", "activity", "Runs, checkpoints, the machine, the log."),
    Entry("window", "The window", "window", "Projects, run bar, settings, closing."),
    Entry("keys", "Keyboard", "keyboard", "All keys in one list."),
    Entry("settings", "Every setting", "sliders", "Label, meaning, range and default of each field."),
    Entry("glossary", "Glossary", "book", "Every word on the screen, explained."),
    Entry("troubleshooting", "Troubleshooting", "life-preserver", "What to do when something goes wrong; every code."),
)
# fmt: on
NAMES = tuple(entry.name for entry in ENTRIES)
TITLES = {entry.name: entry.title for entry in ENTRIES}

# Keys that belong to a control instead of the window: nothing in the table of actions.
_LOCAL_KEYS = (
    ("Tab, Shift+Tab", "Next or previous control"),
    ("Enter, Space", "Press the button in focus"),
    (
        "Esc",
        "Close what is open on top: a question, a list, the palette, a toast. Never stops a run",
    ),
    ("Up, Down, PgUp, PgDn, Home, End", "Move in tables, lists and pages"),
    ("Alt+Left, Alt+Right", "Help: back and forward"),
)


@dataclass(frozen=True)
class Place:
    """Where a reader is: page, anchor asked for, first character in view (None: the anchor's)."""

    page: str = "index"
    anchor: str = ""
    top: tuple[int, int] | None = None  # number of the block, character in it


@dataclass(frozen=True)
class State:
    """Everything the help page shows."""

    place: Place = Place()
    blocks: tuple[Block, ...] = ()
    back: tuple[Place, ...] = ()
    forward: tuple[Place, ...] = ()
    query: str = ""
    hits: tuple[Hit, ...] = ()
    jumps: int = 0  # one higher at each jump, so that a second jump to one place counts too

    @property
    def words(self) -> tuple[str, ...]:
        """What is marked in the page."""
        return tuple(self.query.lower().split())


class Presenter:
    """Opens pages, follows links, searches."""

    def __init__(self, session: object = None) -> None:
        self.store = Store(State())
        self._sections: tuple[pages.Section, ...] = ()

    def open(self, page: str, anchor: str = "") -> None:
        """Show a page at an anchor; an unknown page is the first one."""
        page = page if page in TITLES else NAMES[0]
        now = self.store.state
        new = Place(page, pages.slug(anchor))
        if now.blocks and replace(now.place, top=None) != new:
            back = (*now.back, now.place)[-MAX_HISTORY:]
            self._jump(new, back, ())
        else:
            self._jump(new, now.back, now.forward)

    def follow(self, target: str) -> str:
        """Go where a link leads; an address outside the manual is given back instead."""
        if is_address(target):
            return target
        page, _, anchor = target.partition("#")
        self.open(page.removesuffix(".md") or self.store.state.place.page, anchor)
        return ""

    def go_back(self) -> None:
        """To the place before this one, as far down as it was."""
        now = self.store.state
        if now.back:
            self._jump(now.back[-1], now.back[:-1], (now.place, *now.forward))

    def go_forward(self) -> None:
        """To the place that was left by going back."""
        now = self.store.state
        if now.forward:
            self._jump(now.forward[0], (*now.back, now.place), now.forward[1:])

    def note_top(self, top: tuple[int, int]) -> None:
        """Remember how far down the reader is."""
        self.store.update(place=replace(self.store.state.place, top=top))

    def search(self, query: str) -> None:
        """List what holds all words of ``query``; nothing shows the pages again."""
        if not query.strip():
            self.store.update(query="", hits=())
            return
        if not self._sections:
            every = (pages.sections(name, blocks_of(name)) for name in NAMES)
            self._sections = tuple(section for found in every for section in found)
        self.store.update(query=query, hits=pages.search(self._sections, query))

    def _jump(self, place: Place, back: tuple[Place, ...], forward: tuple[Place, ...]) -> None:
        self.store.update(
            place=place,
            blocks=with_contents(blocks_of(place.page)),
            back=back,
            forward=forward,
            jumps=self.store.state.jumps + 1,
        )


def with_contents(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """A long page gets a line of links to its parts beneath its title."""
    parts = [block for block in blocks if block.kind == "h2"]
    if len(parts) < MIN_PARTS:
        return blocks
    links = [Span(pages.plain(part.spans), target=f"#{part.anchor}") for part in parts]
    between = Span("  ·  ", frozenset({"muted"}))
    spans = tuple(span for link in links for span in (link, between))[:-1]
    return (blocks[0], Block("contents", spans), *blocks[1:])


def hit_blocks(hits: tuple[Hit, ...], words: tuple[str, ...]) -> tuple[Block, ...]:
    """What a search found, as a page of links."""
    out: list[Block] = []
    for hit in hits:
        target = f"{hit.page}.md#{hit.anchor}"
        title = pages.mark((Span(hit.title, frozenset({"strong"}), target),), words)
        where = Span(f"   {TITLES[hit.page]}", frozenset({"muted"}))
        out += [Block("hit", (*title, where)), Block("snippet", hit.snippet)]
    return tuple(out)


def is_address(target: str) -> bool:
    """Whether a link leads out of the manual."""
    return "://" in target or target.startswith("mailto:")


def blocks_of(name: str) -> tuple[Block, ...]:
    """The blocks of a page; a file that cannot be read is a page that says so."""
    return pages.parse(source_of(name))


def source_of(name: str) -> str:
    """The Markdown of a page."""
    if name == "keys":
        return shortcuts_page()
    path = paths.HELP / f"{name}.md"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        return (
            f"# {TITLES[name]}\n\nThis page cannot be read: `{path}` ({type(problem).__name__}). "
            "Put the folder `help` back beside the program.\n"
        )


def shortcuts_page() -> str:
    """The page of keys, made from the table of actions."""
    parts = [
        "# Keyboard\n\nThe same table feeds the buttons, the palette (Ctrl+K) and this page. "
        "On a Mac, Ctrl is the Control key.\n"
    ]
    for group in dict.fromkeys(action.group for action in ACTIONS):
        rows = [
            f"| {action.label} | {_keys(action.shown_keys)} | {action.help} |"
            for action in ACTIONS
            if action.group == group
        ]
        head = f"## {group}\n\n| command | keys | what it does |\n|---|---|---|"
        parts.append("\n".join((head, *rows)))
    rows = [f"| {_keys(keys)} | {what} |" for keys, what in _LOCAL_KEYS]
    parts.append("\n".join(("## Everywhere\n\n| keys | what they do |\n|---|---|", *rows)))
    return "\n\n".join(parts) + "\n"


def _keys(keys: str) -> str:
    """``Tab, Shift+Tab`` as keys; an action without one is reached by the palette."""
    return ", ".join(f"`{key}`" for key in keys.split(", ")) if keys else "-"
