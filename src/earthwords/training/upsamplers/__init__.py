"""What AnyUp and NAF learn from."""
