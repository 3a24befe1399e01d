"""Show a notebook in the browser by voila: to this machine alone, and to whom the token is given."""

import sys
import webbrowser

from voila.app import Voila


class Served(Voila):
    """voila, whose browser is opened with the token."""

    def launch_browser(self) -> None:
        """Open the page in the browser, where there is one."""
        webbrowser.open(self.display_url)


if __name__ == "__main__":
    Served.launch_instance(["--token", "--Voila.ip=127.0.0.1", *sys.argv[1:]])
