"""A person with a browser: goes where a login leads, and wherever that sends the browser next."""

import ssl

import aiohttp


async def visit(url: str, context: ssl.SSLContext, *, follow: bool = True) -> tuple[int, str, str]:
    """Open a page; status, and where it sent the browser, and what the browser saw last.

    Not `follow`: the address is read, and not opened, as by a browser that cannot reach this machine.
    """
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(url, ssl=context, allow_redirects=False) as page:
            status, location, text = page.status, page.headers.get("Location", ""), await page.text()
        if not follow or not location:
            return status, location, text
        async with session.get(location, ssl=context, allow_redirects=False) as end:
            return end.status, location, await end.text()
