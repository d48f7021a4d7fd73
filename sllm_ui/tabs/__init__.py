"""What the window shows: one folder a page, each with a presenter and a view."""
