"""What fills a scene: zones of towns, work, transport, leisure and open ground."""
