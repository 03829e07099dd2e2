"""The page in the browser: layout, events, style and server."""
