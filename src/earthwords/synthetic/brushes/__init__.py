"""What paints a scene: ground, water, roofs, plants, vehicles."""
