"""Referring expressions from masks: made by rules, checked by a second reader."""
