"""Why a listed file is not used: a word of the index in a person's words."""

# reason -> (what it says in the table, what it means)
REASONS: dict[str, tuple[str, str]] = {
    "extension": (
        "Other file type",
        "Its ending is not among the file types that are switched on, or it has none: (none).",
    ),
    "empty": ("Empty", "There is nothing in it, or only blanks."),
    "too-small": ("Too small", "Smaller than the smallest size set under Filters."),
    "too-large": ("Too large", "Larger than the largest size set under Filters."),
    "glob": (
        "Left out by a pattern",
        "It matches a pattern that you leave out of its source, or none of those you read only.",
    ),
    "ignored": (
        "In .gitignore",
        "A .gitignore file names it. Filters has a switch that reads such files too.",
    ),
    "excluded": (
        "Left out by you",
        "You left it out on the Refine tab, where Undo brings it back.",
    ),
    "would-leak": (
        "Held back",
        "It is almost the same as a text that is trained on and as one that is kept for "
        "validation: read, it would make validation look better than it is.",
    ),
    "same-file": ("Same file again", "A second name of a file that is listed already."),
    "over-max-files": ("Beyond the most files", "More files were found than Filters lets in."),
    "not-regular": (
        "Not a plain file",
        "A link, a pipe or a device; a link's target is listed by itself.",
    ),
    "outside": (
        "Link that leads outside",
        "It points out of its source, and what lies there was not added.",
    ),
    "name": ("Unusable name", "Its name cannot be used on this system."),
    "binary": ("Not text", "It holds zero bytes: a picture, an archive, a program."),
    "encoding": (
        "Unknown encoding",
        "No text encoding fits it for certain; read wrongly it would be noise.",
    ),
    "columns": (
        "Columns to choose",
        "A table in which no column could be taken for the text. Choose its columns under Sources.",
    ),
    "library": (
        "Package missing",
        "Reading it needs a package that is not installed: pyarrow for Parquet, cryptography for "
        "protected PDF.",
    ),
    "encrypted": ("Encrypted", "It is locked with a password."),
    "unreadable": ("Cannot be read", "The system refuses to open it, mostly for a lack of rights."),
    "changed": ("Changed meanwhile", "It was changed or removed while it was read. Scan again."),
    "parse": ("Damaged", "Reading it failed half-way."),
    "limit": ("Too much to read", "Reading it would take more memory or time than is allowed."),
}
# The end of a sentence that begins with the number of such files.
CLAUSES = {
    "extension": "are of a file type that is switched off",
    "empty": "are empty",
    "too-small": "are too small",
    "too-large": "are too large",
    "glob": "are left out by a pattern",
    "ignored": "are named in a .gitignore",
    "excluded": "are left out by you",
    "would-leak": "are held back, for they would leak into validation",
    "same-file": "are a second name of another",
    "over-max-files": "are more than Filters lets in",
    "not-regular": "are no plain files",
    "outside": "are links that lead outside",
    "name": "have an unusable name",
    "binary": "are not text",
    "encoding": "are in an unknown encoding",
    "columns": "are tables whose text columns have to be chosen",
    "library": "need a package that is not installed",
    "encrypted": "are locked with a password",
    "unreadable": "cannot be read",
    "changed": "changed meanwhile",
    "parse": "are damaged",
    "limit": "are too much to read",
}


def clause(reason: str, n: int) -> str:
    """What is said of ``n`` files that are not used for this reason."""
    words = CLAUSES.get(reason, "are not used")
    return words if n != 1 else _SINGULAR.get(words) or words.replace("are ", "is ", 1)


_SINGULAR = {
    "are tables whose text columns have to be chosen": "is a table whose text columns have to be "
    "chosen",
    "are links that lead outside": "is a link that leads outside",
    "are no plain files": "is no plain file",
    "have an unusable name": "has an unusable name",
    "need a package that is not installed": "needs a package that is not installed",
}
