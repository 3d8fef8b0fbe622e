"""Pictures: panels, previews, contact sheets, charts. Nobody else draws."""
