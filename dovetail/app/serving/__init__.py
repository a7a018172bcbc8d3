"""``dovetail serve``: an engine behind HTTP, in the forms of OpenAI's API."""
