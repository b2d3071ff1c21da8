"""The I/O shell: the only room that runs asyncio."""
