"""Damaged, lying and malicious inputs: every one ends in a result or in one sentence."""
