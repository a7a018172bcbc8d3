"""Published perplexities of compressed models, and what they say of a model that nobody compressed here."""
