"""Results as JSON, Markdown, a page and plots."""
