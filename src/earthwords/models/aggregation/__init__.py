"""Cost aggregation: cosines of tokens and words, refined jointly (GSNet, RSKT-Seg), from frozen towers to logits."""
