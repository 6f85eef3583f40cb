"""Asks the guide's site, or another server: client.py PATH_OR_URL [HOW MANY AT ONCE]. Prints a line for each."""

import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit


def get(what):
    url = urlsplit(what)
    connection = HTTPConnection("127.0.0.1", url.port or 80, timeout=60)
    path = f"{url.path}?{url.query}" if url.query else url.path
    connection.request("GET", path, headers={"Host": url.netloc or "my-application.org"})
    response = connection.getresponse()
    body = response.read().decode("utf-8", "replace")
    return f"{response.status} {' '.join(body.split())}"


def main():
    what = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with ThreadPoolExecutor(count) as pool:
        for line in pool.map(get, [what] * count):
            print(line)


if __name__ == "__main__":
    main()
