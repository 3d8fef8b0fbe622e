"""Where pixels lie: CRS, transforms, areas, tiles."""
