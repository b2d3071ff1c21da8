"""`python_server.py` over Streamable HTTP and TLS: port, certificate with its key, CA of clients (or `-`)."""

import ssl
import sys
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parent))
from python_server import server


def main() -> None:
    port, certificate, clients = sys.argv[1:4]
    more = {} if clients == "-" else {"ssl_ca_certs": clients, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    uvicorn.run(
        server.streamable_http_app(json_response="--json" in sys.argv), host="127.0.0.1", port=int(port), log_level="warning",
        ssl_certfile=certificate, **more,
    )  # fmt: skip


if __name__ == "__main__":
    main()
