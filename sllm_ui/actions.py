"""Everything the window can be told to do: one table for buttons, palette, shortcuts and help."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One row. ``keys`` are Tk event names; the first is the one that is shown."""

    id: str
    label: str
    group: str  # Project | Run | Go to | Window
    help: str
    icon: str = ""
    keys: tuple[str, ...] = ()

    @property
    def shown_keys(self) -> str:
        """The first key as a person reads it: ``Ctrl+Shift+L``."""
        if not self.keys:
            return ""
        words = self.keys[0].strip("<>").replace("Control", "Ctrl").split("-")
        names = {"Key": "", "Return": "Enter", "comma": ",", "period": ".", "Escape": "Esc"}
        parts = [names.get(word, word) for word in words]
        is_shift = len(parts[-1]) == 1 and parts[-1].isupper() and "Ctrl" in parts
        if is_shift and "Shift" not in parts:
            parts.insert(len(parts) - 1, "Shift")
        parts[-1] = parts[-1].upper() if len(parts[-1]) == 1 else parts[-1]
        return "+".join(part for part in parts if part)


TABS = ("data", "refine", "train", "test", "monitor")

# fmt: off
ACTIONS: tuple[Action, ...] = (
    #      id                 label                      group      help                                                         icon              keys
    Action("new",             "New project",             "Project", "Make a project in a folder of its own.",                    "plus-lg",             ("<Control-n>",)),
    Action("open",            "Open project",            "Project", "Open a project folder.",                                    "folder2-open",        ("<Control-o>",)),
    Action("save_as",         "Save project as",         "Project", "Copy the whole project, runs and checkpoints included, to another place and open the copy.", "copy", ()),
    Action("duplicate",       "Duplicate settings",      "Project", "A new project with the same sources and settings, without runs.", "files",           ()),
    Action("rename",          "Rename project",          "Project", "Give the project's folder another name.",                   "pencil",              ()),
    Action("delete",          "Delete project",          "Project", "Move the project's folder to the system's trash.",          "trash",               ()),
    Action("reveal",          "Show project folder",     "Project", "Open the project's folder in the file manager.",            "folder2-open",        ()),
    Action("sample",          "Try the sample",          "Project", "Train on this Python's own library: about two minutes on a laptop.", "stars",      ()),
    Action("scan",            "Scan sources",            "Run",     "List the files of all sources again.",                      "arrow-repeat",        ("<F5>",)),
    Action("prepare",         "Prepare data",            "Run",     "Train the tokenizer if needed and encode all files.",       "gear-wide-connected", ()),
    Action("analyse",         "Analyse files",           "Run",     "Score every used file, find copies, keys and personal data.", "search",            ()),
    Action("move_to_trash",   "Move proposed files to trash", "Run", "Move what the rules propose into a folder _trash beside it. Undo brings it back.", "trash3", ()),
    Action("exclude",         "Exclude proposed files",  "Run",     "Leave what the rules propose out, without moving a file.",  "slash-circle",        ()),
    Action("undo_remove",     "Undo last removal",       "Run",     "Bring back the files that were moved or left out last.",    "arrow-counterclockwise", ()),
    Action("report_csv",      "Report as CSV",           "Run",     "Write the table of files, with scores and reasons, for a spreadsheet.", "filetype-csv", ()),
    Action("check_leaks",     "Check for leaks",         "Run",     "How much of the validation text, or of files of yours, stands in the training text.", "shield-exclamation", ()),
    Action("auto_select",     "Auto-Select",             "Run",     "Measure this computer and this data and propose settings.", "magic",               ()),
    Action("start",           "Start or write",          "Run",     "Start training; on the Test tab: write.",                   "play-fill",           ("<Control-Return>",)),
    Action("pause",           "Pause or resume",         "Run",     "Pause the run after this step, or let it go on.",           "pause-fill",          ("<Control-p>",)),
    Action("save_now",        "Save checkpoint now",     "Run",     "Write a checkpoint after this step.",                       "save",                ("<Control-s>",)),
    Action("stop",            "Stop",                    "Run",     "Save a checkpoint, then stop the run.",                     "stop-fill",           ("<Control-period>",)),
    Action("resume",          "Resume last run",         "Run",     "Go on from the newest checkpoint of the last run.",         "arrow-clockwise",     ("<Control-Shift-R>",)),
    Action("tab_data",        "Data",                    "Go to",   "Sources, files, tokenizer.",                                "database",            ("<Alt-Key-1>",)),
    Action("tab_refine",      "Refine",                  "Go to",   "Scores, copies, keys: what should not be trained on.",      "funnel",              ("<Alt-Key-2>",)),
    Action("tab_train",       "Train",                   "Go to",   "Model, settings and the run.",                              "graph-up",            ("<Alt-Key-3>",)),
    Action("tab_test",        "Test",                    "Go to",   "Write with the model.",                                     "chat-square-text",    ("<Alt-Key-4>",)),
    Action("tab_monitor",     "Monitor",                 "Go to",   "Runs, checkpoints and the machine.",                        "activity",            ("<Alt-Key-5>",)),
    Action("settings",        "Settings",                "Go to",   "Looks, places, behaviour.",                                 "gear",                ("<Control-comma>",)),
    Action("help",            "Help for this page",      "Go to",   "Explains what is in view.",                                 "question-circle",     ("<F1>",)),
    Action("keys",            "Keyboard shortcuts",      "Go to",   "All keys in one list.",                                     "keyboard",            ("<Shift-F1>",)),
    Action("palette",         "Search commands",         "Window",  "Find and run any command.",                                 "search",              ("<Control-k>",)),
    Action("find",            "Search in this page",     "Window",  "Go to the search or filter field of the page.",             "search",              ("<Control-f>",)),
    Action("theme",           "Light or dark",           "Window",  "Switch between the light and the dark theme.",              "moon-stars",          ("<Control-Shift-L>",)),
    Action("zoom_in",         "Larger",                  "Window",  "Make everything larger.",                                   "zoom-in",             ("<Control-plus>", "<Control-equal>")),
    Action("zoom_out",        "Smaller",                 "Window",  "Make everything smaller.",                                  "zoom-out",            ("<Control-minus>",)),
    Action("zoom_reset",      "Usual size",              "Window",  "Back to a zoom of 100 %.",                                  "aspect-ratio",        ("<Control-Key-0>",)),
    Action("messages",        "Messages",                "Window",  "The last messages of this window.",                         "bell",                ()),
    Action("shortcut",        "Make a desktop shortcut", "Window",  "Put a starter into the desktop's menu.",                    "box-arrow-up-right",  ()),
    Action("quit",            "Quit",                    "Window",  "Close the window; a run is never lost.",                    "x-lg",                ("<Control-q>",)),
)
# fmt: on
BY_ID = {action.id: action for action in ACTIONS}
