"""What all tests share: the fixtures of the real servers, which start when a test first asks for one."""

pytest_plugins = ["tests.stack.fixtures", "tests.contracts.catalogs"]
