"""How heads over a dual encoder are trained: a file a kind."""
