"""TLS in front of a server that speaks plain HTTP on this machine."""

import asyncio
import ssl
import threading


def terminate_tls(context: ssl.SSLContext, inner: int, port: int = 0) -> int:
    """A thread that ends TLS in front of a server on the port `inner`; its port."""
    ready: list[int] = []
    done = threading.Event()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # either side hung up, which the other one is told below
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection("127.0.0.1", inner)
        await asyncio.gather(copy(reader, outward), copy(inward, writer))

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
        ready.append(server.sockets[0].getsockname()[1])
        done.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    assert done.wait(20)
    return ready[0]
