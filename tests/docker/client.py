"""Sends requests to the guide's site: client.py PATH [HOW MANY AT ONCE]. Prints a line for each."""

import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection


def get(path):
    connection = HTTPConnection("127.0.0.1", 80, timeout=60)
    connection.request("GET", path, headers={"Host": "my-application.org"})
    response = connection.getresponse()
    body = response.read().decode("utf-8", "replace")
    return f"{response.status} {' '.join(body.split())}"


def main():
    path = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with ThreadPoolExecutor(count) as pool:
        for line in pool.map(get, [path] * count):
            print(line)


if __name__ == "__main__":
    main()
