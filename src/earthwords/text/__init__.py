"""Words: vocabularies, prompt templates, tokens."""
