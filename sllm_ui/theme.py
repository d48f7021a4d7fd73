"""The look of the window: colours, type, and the styles that draw them on ttkbootstrap's engine.

This is the one file that knows a colour or a font's name. ttkbootstrap owns the themes, the icons,
the scaling and every widget class; added here is what its recipes cannot draw: several surfaces,
rounded corners, left-aligned navigation, tabs without boxes.
"""

import tkinter as tk
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from tkinter import font as tkfont
from typing import Any
from weakref import WeakKeyDictionary

import ttkbootstrap as tb
from PIL import Image, ImageDraw, ImageTk
from ttkbootstrap.style.icons import IconRenderer
from ttkbootstrap.style.theme import Colors, ThemeDefinition

CONTROL = 160  # px: the middle of a control's picture; ttk repeats it, so a small one costs dearly
CARD = 320  # px: the same for cards
SAMPLE, SAMPLE_PX = "The quick brown fox 0123456789", 194  # its width in Noto Sans, body
SMOOTH = 4  # pictures are drawn this many times too large, then made small


@dataclass(frozen=True)
class Palette:
    """One theme; surfaces go from back to front: side, page, card, field and raised."""

    name: str
    mode: str  # dark or light
    side: str  # sidebar, tab bar, run bar
    page: str  # behind the cards
    card: str
    field: str  # inputs, text panes, plots
    raised: str  # secondary buttons, toasts, popovers, troughs of bars
    hover: str
    select: str
    line: str  # edges of cards, separators
    line2: str  # edges of inputs, axes
    fg: str
    fg2: str
    muted: str  # captions, units
    accent: str  # fills
    accent_hover: str
    accent_press: str
    accent_hi: str  # lines, icons, links
    on_accent: str
    good: str
    warn: str
    bad: str
    good_bg: str
    warn_bg: str
    bad_bg: str
    accent_bg: str
    scrim: str  # behind a dialog
    tokens: tuple[str, ...]  # tints for the boundaries of tokens
    series: tuple[str, ...]  # runs and parts: colour without judgement
    unlikely: tuple[str, str]  # backgrounds of an improbable and a middling token


NAVY = Palette(
    name="navy-dark",
    mode="dark",
    side="#070d20",
    page="#0b142d",
    card="#121e40",
    field="#0c1634",
    raised="#1a2950",
    hover="#213362",
    select="#1d3a78",
    line="#1f2e59",
    line2="#2c3f74",
    fg="#e8eefc",
    fg2="#b4c2e2",
    muted="#8595bf",
    accent="#2f6bea",
    accent_hover="#4a82f5",
    accent_press="#2559cc",
    accent_hi="#6ea3ff",
    on_accent="#ffffff",
    good="#2dd4bf",
    warn="#fbbf24",
    bad="#fb7185",
    good_bg="#0f3343",
    warn_bg="#352f38",
    bad_bg="#34223f",
    accent_bg="#16306a",
    scrim="#050a19",
    tokens=("#1b3a78", "#144553", "#38316c", "#1f4262"),
    series=("#2f6bea", "#6ea3ff", "#38bdf8", "#a78bfa", "#94a3b8", "#f0abfc"),
    unlikely=("#612a58", "#213d80"),
)
LIGHT = Palette(
    name="navy-light",
    mode="light",
    side="#e6ecf7",
    page="#f2f5fb",
    card="#ffffff",
    field="#f6f8fd",
    raised="#eaf0fa",
    hover="#dde6f6",
    select="#d6e4ff",
    line="#dbe3f1",
    line2="#c3cfe4",
    fg="#13203f",
    fg2="#3d4c70",
    muted="#556389",
    accent="#2563eb",
    accent_hover="#1d54d4",
    accent_press="#2559cc",
    accent_hi="#1f5ae0",
    on_accent="#ffffff",
    good="#0f766e",
    warn="#a1560a",
    bad="#c81e3a",
    good_bg="#d9f3ee",
    warn_bg="#fbefd5",
    bad_bg="#fde4e8",
    accent_bg="#cfdefd",
    scrim="#c8d2e6",
    tokens=("#d3e2ff", "#cdeee8", "#e3dcfb", "#f9e3d0", "#d9f0d6", "#f6d9ee"),
    series=("#2563eb", "#7fabff", "#0284c7", "#8b5cf6", "#64748b", "#c026d3"),
    unlikely=("#f9cfe0", "#d9e5ff"),
)

UI_FAMILIES = (
    "Segoe UI Variable Text",
    "Segoe UI",
    "SF Pro Text",
    "Inter",
    "Noto Sans",
    "DejaVu Sans",
)
MONO_FAMILIES = (
    "Cascadia Mono",
    "JetBrains Mono",
    "SF Mono",
    "Noto Sans Mono",
    "DejaVu Sans Mono",
)
# role -> (points, weight, is_mono)
TYPE = {
    "tiny": (8, "normal", False),
    "caption": (9, "normal", False),
    "body": (10, "normal", False),
    "strong": (10, "bold", False),
    "h2": (11, "bold", False),
    "read": (12, "normal", False),
    "h1": (14, "bold", False),
    "figure": (15, "bold", False),
    "hero": (20, "bold", False),
    "mono": (10, "normal", True),
    "mono_s": (9, "normal", True),
}


def mix(first: str, second: str, share: float) -> str:
    """The colour ``share`` (0..1) of the way from ``first`` to ``second``."""
    pairs = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def likelihood(palette: Palette, probability: float) -> str:
    """Background of a token: warm when it was unlikely, the pane's own colour when it was sure."""
    low, middle = palette.unlikely
    if probability < 0.12:
        return mix(low, middle, max(0.0, probability) / 0.12)
    return mix(middle, palette.field, min(1.0, (probability - 0.12) / 0.25))


def _definition(p: Palette, name: str) -> ThemeDefinition:
    """The palette as ttkbootstrap's 16 colours, set exactly: its Theme() would shift them."""
    colours = Colors(
        primary=p.accent,
        secondary=p.raised,
        success=p.good,
        info=p.accent_hi,
        warning=p.warn,
        danger=p.bad,
        light=p.raised,
        dark=p.side,
        bg=p.page,
        fg=p.fg,
        selectbg=p.select,
        selectfg=p.fg,
        border=p.line2,
        inputfg=p.fg,
        inputbg=p.field,
        active=p.hover,
    )
    return ThemeDefinition(name, colours, p.mode)


@dataclass
class _Theme:
    """What one ttk theme has been given so far; a picture must live as long as its theme."""

    styles: set[str] = field(default_factory=set)
    pictures: dict[object, ImageTk.PhotoImage] = field(default_factory=dict)


@dataclass
class _Root:
    """What is kept for one root window: ttk themes cannot be deleted, so all of them stay."""

    display: float  # scale the system asks for
    fonts: dict[str, tkfont.Font] = field(default_factory=dict)
    themes: dict[str, _Theme] = field(default_factory=dict)


_ROOTS: "WeakKeyDictionary[tk.Misc, _Root]" = WeakKeyDictionary()


def _root_of(root: tk.Misc) -> _Root:
    found = _ROOTS.get(root)
    if found is None:
        display = tb.Style.get_instance().scaling.factor
        found = _ROOTS[root] = _Root(max(1.0, float(display)))

        def drop(event: "tk.Event[tk.Misc]") -> None:
            # Here and not in the collector, which may run on a reader's thread.
            if event.widget is root:
                _ROOTS.pop(root, None)

        root.bind("<Destroy>", drop, "+")
    return found


class Skin:
    """One palette at one scale: colours, pixels, fonts, pictures, and styles built on demand.

    Making it switches the theme of the whole window. It may be made again at any time with another
    palette or scale; destroy the widgets first, and build them anew after it.
    """

    def __init__(self, root: tk.Misc, palette: Palette, scale: float = 1.0) -> None:
        self.root, self.p, self.scale = root, palette, scale
        self._style = tb.Style.get_instance()
        kept = _root_of(root)
        self.factor = kept.display * scale
        root.tk.call("tk", "scaling", self.factor * self._style.scaling.baseline)
        self.fonts = self._fonts(kept)
        name = f"{palette.name}-{round(self.factor * 100)}"
        self._theme = kept.themes.setdefault(name, _Theme())
        if name not in self._style.theme_names():
            self._style.register_theme(_definition(palette, name))
        self._style.theme_use(name)
        root.configure(background=palette.page)  # type: ignore[call-arg]
        self._popdowns()

    def px(self, length: float) -> int:
        """Logical to real pixels; what is not nothing is at least one."""
        return max(1, round(length * self.factor)) if length > 0 else round(length * self.factor)

    def surface(self, name: str) -> str:
        """The colour of a surface, or of any other token, by its name."""
        found: str = getattr(self.p, name)
        return found

    def ink(self, tone: str) -> str:
        """The colour of a text or icon in ``tone``: accent is its brighter form, #rrggbb is itself."""
        if tone.startswith("#"):
            return tone
        return self.p.accent_hi if tone == "accent" else self.surface(tone)

    def _fonts(self, kept: _Root) -> dict[str, tkfont.Font]:
        """Set the named fonts: in pixels, because points follow `tk scaling` only when made."""
        have = set(tkfont.families(self.root))
        self.ui_family = next((f for f in UI_FAMILIES if f in have), "TkDefaultFont")
        self.mono_family = next((f for f in MONO_FAMILIES if f in have), "TkFixedFont")
        for role, (points, weight, is_mono) in TYPE.items():
            font = kept.fonts.get(role)
            if font is None:
                font = kept.fonts[role] = tkfont.Font(self.root, name=role, exists=False)
            font.configure(
                family=self.mono_family if is_mono else self.ui_family,
                size=-round(points * 4 / 3 * self.factor),
                weight=weight,  # type: ignore[arg-type]
            )
        size = -round(TYPE["body"][0] * 4 / 3 * self.factor)
        for name in ("TkDefaultFont", "TkTextFont", "TkMenuFont"):
            tkfont.nametofont(name, root=self.root).configure(family=self.ui_family, size=size)
        tkfont.nametofont("TkFixedFont", root=self.root).configure(
            family=self.mono_family, size=size
        )
        return kept.fonts

    def _popdowns(self) -> None:
        """Colour what ttk makes by itself: the list under a combobox with its bar, and menus."""
        p = self.p
        listbox = {
            "background": p.raised,
            "foreground": p.fg,
            "selectBackground": p.select,
            "selectForeground": p.fg,
            "highlightThickness": 0,
            "relief": "flat",
            "borderWidth": self.px(5),
            "font": "body",
        }
        for key, value in listbox.items():
            self.root.option_add(f"*TCombobox*Listbox.{key}", value)
        menu = {
            "background": p.raised,
            "foreground": p.fg,
            "activeBackground": p.select,
            "activeForeground": p.fg,
            "disabledForeground": p.muted,
            "borderWidth": 0,
        }
        for key, value in menu.items():
            self.root.option_add(f"*Menu.{key}", value)
        if self._new("ComboboxPopdownFrame"):
            edge = {"background": p.raised, "bordercolor": p.line2, "relief": "solid"}
            self._set("ComboboxPopdownFrame", **edge, lightcolor=p.raised, darkcolor=p.raised)
        self.scrollbar("raised", name="Vertical.TScrollbar")

    @property
    def breadth(self) -> float:
        """How much wider texts run here than in Noto Sans; never below 1."""
        return max(1.0, self.fonts["body"].measure(SAMPLE) / (SAMPLE_PX * self.factor))

    # Pictures

    def icon(self, name: str, size: int = 16, tone: str = "fg2") -> str:
        """A Bootstrap icon in a tone or colour, as the name of a cached Tk image."""
        found: str = tb.Icon(name, size, self.ink(tone))
        return found

    def photo(self, key: object, make: Callable[[], Image.Image]) -> ImageTk.PhotoImage:
        """A picture that is drawn once for this palette and scale."""
        pictures = self._theme.pictures
        if key not in pictures:
            pictures[key] = ImageTk.PhotoImage(make(), master=self.root)
        return pictures[key]

    def glyph(
        self, name: str, size: float, width: float, height: float | None = None, tone: str = "muted"
    ) -> ImageTk.PhotoImage:
        """An icon in the middle of a wider clear box: an element's own `width` pads one side."""

        def make() -> Image.Image:
            box = Image.new("RGBA", (self.px(width), self.px(height or size)), (0, 0, 0, 0))
            icon = IconRenderer.render(name, self.px(size), self.ink(tone))
            place = ((box.width - icon.width) // 2, (box.height - icon.height) // 2)
            box.alpha_composite(icon, place)  # paste with a mask would square the alpha
            return box

        return self.photo(("glyph", name, size, width, height, tone), make)

    def tile(
        self,
        size: tuple[int, int],
        radius: int,
        fill: str,
        border: str,
        ground: str,
        *,
        edge: int = 1,
        under: str = "",
    ) -> ImageTk.PhotoImage:
        """A rounded rectangle (real px) on ``ground``; ``under`` draws a line at its foot."""

        def make() -> Image.Image:
            return _rounded(self.px(edge), self.px(2), size, radius, fill, border, ground, under)

        return self.photo(("tile", size, radius, fill, border, ground, edge, under), make)

    # Styles

    def _new(self, name: str) -> bool:
        if name in self._theme.styles:
            return False
        self._theme.styles.add(name)
        tb.register_style(self._style, name)  # else ttkbootstrap reads the name as one of its own
        return True

    def _set(self, name: str, **options: object) -> None:
        """Configure a style at Tcl's level: ttkbootstrap's way walks over all styles each time."""
        words = [word for key, value in options.items() for word in (f"-{key}", value)]
        self.root.tk.call("ttk::style", "configure", name, *words)

    def _element(
        self,
        name: str,
        default: ImageTk.PhotoImage,
        states: Mapping[str, ImageTk.PhotoImage] | None = None,
        **options: object,
    ) -> None:
        # Without a size the element asks for that of its picture, without padding for its border.
        least = self.px(12)
        settings = {"sticky": "nsew", "padding": 0, "width": least, "height": least} | options
        tb.image_element(self._style, name, default=default, states=states, **settings)

    def _layout(self, name: str, *elements: tb.El) -> None:
        tb.layout(self._style, name, list(elements))

    def frame(self, surface: str) -> str:
        """Style of a flat frame."""
        name = f"{surface}.TFrame"
        if self._new(name):
            self._set(name, background=self.surface(surface), borderwidth=0, relief="flat")
        return name

    def panel(self, fill: str, on: str, radius: int = 10, border: str = "line") -> str:
        """Style of a rounded frame that lies on surface ``on``; with the focus its edge lights."""
        name = f"{fill}-{on}-{radius}-{border}.TFrame"
        if self._new(name):
            size = self.px(CARD)
            plain = self.tile((size, size), self.px(radius), *map(self.surface, (fill, border, on)))
            self._element(f"{name}.bg", plain, border=self.px(radius + 2))
            self._layout(name, tb.El(f"{name}.bg", sticky="nsew"))
            self._set(name, background=self.surface(fill))
        return name

    def label(self, role: str, surface: str, tone: str = "fg") -> str:
        """Style of a text: a role of TYPE on a surface in a tone."""
        name = f"{role}-{surface}-{tone}.TLabel"
        if self._new(name):
            ink = self.ink(tone)
            self._set(name, background=self.surface(surface), foreground=ink, font=role)
        return name

    def button(self, kind: str, on: str, is_small: bool = False, anchor: str = "center") -> str:
        """Style of a button: primary default ghost danger good nav link section."""
        name = f"{kind}-{on}-{'s' if is_small else 'm'}-{anchor}.TButton"
        if not self._new(name):
            return name
        p, px, ground = self.p, self.px, self.surface(on)
        fill, hover, press, edge, ink = {
            "primary": (p.accent, p.accent_hover, p.accent_press, p.accent, p.on_accent),
            "default": (p.raised, p.hover, p.select, p.line2, p.fg),
            "ghost": (ground, p.hover, p.select, ground, p.fg2),
            "nav": (ground, p.raised, p.select, ground, p.fg2),
            "section": (ground, ground, ground, ground, p.fg),
            "danger": (ground, p.bad_bg, p.bad_bg, p.bad, p.bad),
            "good": (p.good_bg, p.good_bg, p.good_bg, p.good, p.good),
            "link": (ground, ground, ground, ground, p.accent_hi),
        }[kind]
        has_edge = kind in {"default", "danger", "good"}
        is_flat = edge == ground
        ring = p.fg if kind == "primary" and p.mode == "light" else p.accent_hi

        def tile(colour: str, border: str, width: int = 1) -> ImageTk.PhotoImage:
            size = (px(CONTROL), px(32 if kind != "link" else 20))
            return self.tile(size, px(6), colour, border, ground, edge=width)

        off = (ground, ground) if is_flat else (mix(ground, p.raised, 0.5), p.line)
        states = {
            "disabled": tile(*off),
            "pressed": tile(press, edge if has_edge else press),
            "focus active": tile(hover, ring, 2),
            "focus": tile(fill, ring, 2),
            "active": tile(hover, edge if has_edge else hover),
        }
        if kind == "nav":  # the one of a list whose page is in view
            chosen = {
                "selected focus": tile(p.select, ring, 2),
                "selected": tile(p.select, p.select),
            }
            states = chosen | states
        self._element(f"{name}.bg", tile(fill, edge), states, border=px(8))
        label = tb.El("Button.label", sticky="nsew")
        inner = tb.El("Button.padding", sticky="nsew", children=[label])
        self._layout(name, tb.El(f"{name}.bg", sticky="nsew", children=[inner]))
        pads = {
            "link": (px(3), px(2)),
            "nav": (px(10), px(8)),
            "section": (px(4), px(7)),
        }
        pad = pads.get(kind, (px(10), px(4)) if is_small else (px(14), px(7)))
        font = "caption" if is_small else "strong" if kind in {"primary", "section"} else "body"
        self._set(name, foreground=ink, background=ground, padding=pad, anchor=anchor, font=font)
        self._set(name, width=0, shiftrelief=0)
        lit = p.fg if kind in {"ghost", "nav"} else ink
        self._style.map(name, foreground=[("disabled", p.muted), ("active", lit)])
        return name

    def _toolbutton(
        self, name: str, states: Mapping[str, ImageTk.PhotoImage], plain: ImageTk.PhotoImage
    ) -> None:
        self._element(f"{name}.bg", plain, states, border=self.px(7))
        label = tb.El("Toolbutton.label", sticky="nsew")
        inner = tb.El("Toolbutton.padding", sticky="nsew", children=[label])
        self._layout(name, tb.El(f"{name}.bg", sticky="nsew", children=[inner]))

    def segment(self, on: str = "field") -> str:
        """Style of a radio button that is one segment of a segmented control."""
        name = f"seg-{on}.Toolbutton"
        if self._new(name):
            p, px, ground = self.p, self.px, self.surface(on)

            def tile(colour: str, border: str) -> ImageTk.PhotoImage:
                return self.tile((px(CONTROL), px(30)), px(5), colour, border, ground)

            states = {
                "disabled selected": tile(p.raised, p.raised),
                "selected focus": tile(p.select, p.accent_hi),
                "selected": tile(p.select, p.select),
                "disabled": tile(ground, ground),
                "focus": tile(ground, p.accent_hi),
                "active": tile(p.hover, p.hover),
            }
            self._toolbutton(name, states, tile(ground, ground))
            pad = (px(10), px(4))
            self._set(name, foreground=p.fg2, background=ground, padding=pad, font="caption")
            self._set(name, anchor="center")
            self._style.map(name, foreground=[("disabled", p.muted), ("selected", p.fg)])
        return name

    def tab(self, on: str = "side") -> str:
        """Style of a main tab: flat, with a line under the chosen one."""
        name = f"tab-{on}.Toolbutton"
        if self._new(name):
            p, px, ground = self.p, self.px, self.surface(on)

            def tile(colour: str, border: str, under: str = "") -> ImageTk.PhotoImage:
                return self.tile((px(CONTROL), px(48)), px(4), colour, border, ground, under=under)

            states = {
                "selected focus": tile(ground, p.accent_hi, p.accent_hi),
                "selected": tile(ground, ground, p.accent_hi),
                "focus": tile(ground, p.accent_hi),
                "active": tile(p.card, p.card),
            }
            self._toolbutton(name, states, tile(ground, ground))
            pad = (px(14), px(14))
            self._set(name, foreground=p.fg2, background=ground, padding=pad, font="body")
            lit = [("selected", p.fg), ("active", p.fg)]
            self._style.map(name, foreground=lit)
        return name

    def entry(self, kind: str, on: str) -> str:
        """Style of a rounded input; ``kind`` is TEntry, TCombobox or TSpinbox."""
        name = f"in-{on}.{kind}"
        if not self._new(name):
            return name
        p, px, ground = self.p, self.px, self.surface(on)
        fill = p.field if on != "field" else p.card

        def tile(colour: str, border: str, width: int = 1) -> ImageTk.PhotoImage:
            return self.tile((px(CONTROL), px(32)), px(6), colour, border, ground, edge=width)

        states = {
            "invalid focus": tile(p.bad_bg, p.bad, 2),
            "invalid": tile(p.bad_bg, p.bad),
            "disabled": tile(mix(ground, fill, 0.5), p.line),
            "focus": tile(fill, p.accent_hi, 2),
            "hover": tile(fill, p.muted),
        }
        self._element(f"{name}.bg", tile(fill, p.line2), states, border=px(8))
        inner = kind[1:]
        text = tb.El(f"{inner}.textarea", sticky="nsew")
        parts = [tb.El(f"{inner}.padding", sticky="nsew", children=[text])]
        if kind == "TCombobox":
            self._arrow(f"{name}.down", "chevron-down", 10, 26, 10)
            parts.insert(0, tb.El(f"{name}.down", side="right", sticky="ns"))
        if kind == "TSpinbox":
            self._arrow(f"{name}.uparrow", "chevron-up", 8, 24, 11)
            self._arrow(f"{name}.downarrow", "chevron-down", 8, 24, 11)
            up = tb.El(f"{name}.uparrow", side="top", sticky="e")
            down = tb.El(f"{name}.downarrow", side="bottom", sticky="e")
            parts.insert(0, tb.El("null", side="right", sticky="", children=[up, down]))
        self._layout(name, tb.El(f"{name}.bg", sticky="nsew", children=parts))
        self._set(name, padding=(px(10), px(6)), foreground=p.fg, fieldbackground=fill)
        self._set(name, background=ground, insertcolor=p.fg, borderwidth=0, arrowsize=px(12))
        self._set(name, selectbackground=p.select, selectforeground=p.fg, insertwidth=px(1))
        self._style.map(
            name,
            foreground=[("disabled", p.muted)],
            fieldbackground=[("readonly", fill), ("disabled", ground)],
            selectbackground=[("readonly", fill)],
            selectforeground=[("disabled", p.muted), ("readonly", p.fg)],
        )
        return name

    def _arrow(self, name: str, icon: str, size: int, width: int, height: int) -> None:
        lit = self.glyph(icon, size, width, height, "fg")
        off = self.glyph(icon, size, width, height, "line2")
        plain = self.glyph(icon, size, width, height)
        states = {"disabled": off, "active": lit}
        box: dict[str, Any] = {"width": self.px(width), "height": self.px(height)}
        self._element(name, plain, states, sticky="", **box)

    def check(self, on: str, kind: str = "TCheckbutton") -> str:
        """Style of a check box, or of a radio button (``kind`` TRadiobutton)."""
        name = f"ck-{on}.{kind}"
        if not self._new(name):
            return name
        p, px, ground = self.p, self.px, self.surface(on)
        is_round = kind == "TRadiobutton"

        def box(mark: bool, fill: str, edge: str, width: int = 1) -> ImageTk.PhotoImage:
            def make() -> Image.Image:
                ink = p.on_accent if fill == p.accent else p.muted
                return _indicator(
                    px(18),
                    px(26),
                    px(4),
                    px(width),
                    ground,
                    fill,
                    edge,
                    ink if mark else "",
                    is_round,
                )

            return self.photo((name, mark, fill, edge, width), make)

        states = {
            "disabled selected": box(True, p.raised, p.line2),
            "disabled": box(False, ground, p.line),
            "selected focus": box(True, p.accent, p.accent_hi if p.mode == "dark" else p.fg, 2),
            "selected": box(True, p.accent, p.accent),
            "focus": box(False, p.field, p.accent_hi, 2),
            "active": box(False, p.field, p.muted),
        }
        self._element(
            f"{name}.ind",
            box(False, p.field, p.line2),
            states,
            sticky="w",
            width=px(26),
            height=px(18),
        )
        label = tb.El(f"{kind[1:]}.label", side="left", sticky="nsew")
        parts = [tb.El(f"{name}.ind", side="left", sticky=""), label]
        self._layout(name, tb.El(f"{kind[1:]}.padding", sticky="nsew", children=parts))
        self._set(name, background=ground, foreground=p.fg, padding=(0, px(3)), font="body")
        self._style.map(name, background=[("active", ground)], foreground=[("disabled", p.muted)])
        return name

    def scrollbar(self, on: str, orient: str = "Vertical", name: str = "") -> str:
        """Style of a thin rounded scroll bar without a visible trough."""
        element = f"thin-{on}.{orient}.TScrollbar"
        name = name or element
        if not self._new(name):
            return name
        p, px, ground = self.p, self.px, self.surface(on)
        is_vertical = orient == "Vertical"
        size = (px(10), px(CONTROL)) if is_vertical else (px(CONTROL), px(10))

        def bar(colour: str) -> ImageTk.PhotoImage:
            return self.photo(
                ("bar", size, colour, ground),
                lambda: _pill(
                    size, colour, ground, px(2) if is_vertical else 0, 0 if is_vertical else px(2)
                ),
            )

        states = {"disabled": bar(ground), "pressed": bar(p.accent_hi), "active": bar(p.muted)}
        border = (0, px(4)) if is_vertical else (px(4), 0)
        both: dict[str, Any] = {"width": px(10), "height": px(10)}
        self._element(f"{element}.thumb", bar(p.line2), states, border=border, **both)
        empty = self.photo(("empty", size, ground), lambda: Image.new("RGB", size, ground))
        self._element(f"{element}.trough", empty)
        thumb = tb.El(f"{element}.thumb", expand=True, sticky="nsew")
        way = "ns" if is_vertical else "ew"
        self._layout(name, tb.El(f"{element}.trough", sticky=way, children=[thumb]))
        self._set(name, background=ground, troughcolor=ground, borderwidth=0)
        return name

    def progress(self, on: str, tone: str = "accent", height: int = 6) -> str:
        """Style of a rounded progress bar."""
        name = f"pb-{on}-{tone}-{height}.Horizontal.TProgressbar"
        if self._new(name):
            ground, high = self.surface(on), self.px(height)
            size = (self.px(CONTROL), high)

            def bar(colour: str) -> ImageTk.PhotoImage:
                make: Callable[[], Image.Image] = lambda: _pill(size, colour, ground)  # noqa: E731
                return self.photo(("pill", size, colour, ground), make)

            both: dict[str, Any] = {"border": (high // 2 + 1, 0), "height": high, "width": high + 2}
            trough = self.p.line2 if on == "raised" else self.p.raised
            self._element(f"{name}.trough", bar(trough), sticky="ew", **both)
            self._element(f"{name}.pbar", bar(self.surface(tone)), sticky="ew", **both)
            inner = tb.El(f"{name}.pbar", side="left", sticky="ew")
            self._layout(name, tb.El(f"{name}.trough", sticky="ew", children=[inner]))
            self._set(name, background=ground, borderwidth=0, thickness=high)
        return name

    def slider(self, on: str) -> str:
        """Style of a slider: thin trough, round knob."""
        name = f"sl-{on}.Horizontal.TScale"
        if not self._new(name):
            return name
        p, px, ground = self.p, self.px, self.surface(on)

        def knob(fill: str, core: str, ring: str) -> ImageTk.PhotoImage:
            return self.photo(
                (name, fill, core, ring), lambda: _knob(px(18), ground, fill, core, ring)
            )

        ring = p.accent_hi if p.mode == "dark" else p.fg
        states = {
            "disabled": knob(p.line2, ground, ground),
            "focus": knob(p.accent, p.on_accent, ring),
            "active": knob(p.accent_hover, p.on_accent, ground),
        }
        self._element(
            f"{name}.slider",
            knob(p.accent, p.on_accent, ground),
            states,
            sticky="",
            width=px(18),
            height=px(18),
        )
        size, rim = (px(CONTROL), px(18)), px(7)
        trough = self.photo((name, "trough"), lambda: _pill(size, p.line2, ground, 0, rim))
        self._element(
            f"{name}.trough", trough, border=(px(4), 0), sticky="ew", height=px(18), width=px(20)
        )
        inner = tb.El(f"{name}.slider", side="left", sticky="")
        self._layout(name, tb.El(f"{name}.trough", sticky="ew", children=[inner]))
        self._set(name, background=ground)
        return name


# Drawing: corners are drawn SMOOTH times too large; the middle is filled, not resampled


def _rounded(
    edge: int,
    foot: int,
    size: tuple[int, int],
    radius: int,
    fill: str,
    border: str,
    ground: str,
    under: str,
) -> Image.Image:
    """A rounded rectangle whose corners alone are smoothed."""
    width, height = size
    corner = radius + edge
    big = Image.new("RGB", (2 * corner * SMOOTH,) * 2, ground)
    draw, last = ImageDraw.Draw(big), 2 * corner * SMOOTH - 1
    draw.rounded_rectangle((0, 0, last, last), radius * SMOOTH, fill=border)
    if fill != border:
        rim = edge * SMOOTH
        inner = max(0, radius - edge) * SMOOTH
        draw.rounded_rectangle((rim, rim, last - rim, last - rim), inner, fill=fill)
    small = big.resize((2 * corner, 2 * corner), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", size, border)
    picture.paste(fill, (edge, edge, width - edge, height - edge))
    for x in (0, 1):
        for y in (0, 1):
            part = small.crop((x * corner, y * corner, (x + 1) * corner, (y + 1) * corner))
            picture.paste(part, (x * (width - corner), y * (height - corner)))
    if under:
        picture.paste(under, (0, height - foot, width, height))
    return picture


def _pill(
    size: tuple[int, int], fill: str, ground: str, rim_x: int = 0, rim_y: int = 0
) -> Image.Image:
    """A bar with round ends inside a rim of the ground's colour."""
    width, height = size
    big = Image.new("RGB", (width * SMOOTH, height * SMOOTH), ground)
    x, y = rim_x * SMOOTH, rim_y * SMOOTH
    box = (x, y, width * SMOOTH - 1 - x, height * SMOOTH - 1 - y)
    radius = min(box[2] - box[0], box[3] - box[1]) // 2
    ImageDraw.Draw(big).rounded_rectangle(box, radius, fill=fill)
    return big.resize(size, Image.Resampling.LANCZOS)


def _knob(size: int, ground: str, fill: str, core: str, ring: str) -> Image.Image:
    """The knob of a slider: disc, core, and a ring when it has the focus."""
    n = size * SMOOTH
    big = Image.new("RGB", (n, n), ground)
    draw = ImageDraw.Draw(big)
    for inset, colour in ((0.0, ring), (0.1, ground), (0.12, fill), (0.34, core)):
        draw.ellipse((n * inset, n * inset, n * (1 - inset) - 1, n * (1 - inset) - 1), fill=colour)
    return big.resize((size, size), Image.Resampling.LANCZOS)


def _indicator(
    size: int,
    width: int,
    radius: int,
    edge: int,
    ground: str,
    fill: str,
    border: str,
    ink: str,
    is_round: bool,
) -> Image.Image:
    """The box of a check button or the ring of a radio button, marked in ``ink`` if that is given."""
    n, s = size * SMOOTH, SMOOTH
    big = Image.new("RGB", (width * s, n), ground)
    draw = ImageDraw.Draw(big)
    box = (s, s, n - s - 1, n - s - 1)
    curve = n // 2 if is_round else radius * s
    draw.rounded_rectangle(box, curve, fill=fill, outline=border, width=edge * s)
    if ink and is_round:
        middle, q = n / 2, n * 0.19
        draw.ellipse((middle - q, middle - q, middle + q, middle + q), fill=ink)
    elif ink:
        points: Sequence[tuple[float, float]] = (
            (n * 0.28, n * 0.52),
            (n * 0.44, n * 0.67),
            (n * 0.74, n * 0.35),
        )
        draw.line(points, fill=ink, width=round(n * 0.1), joint="curve")
    return big.resize((width, size), Image.Resampling.LANCZOS)
