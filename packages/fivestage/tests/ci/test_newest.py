"""The notice about the newest libraries."""

from fivestage.ci.newest import notice_of

DIFFERENCE = """\
--- a/requirements.lock
+++ b/requirements.lock
@@ -1 +1 @@
-numpy==2.4.0 \\
-    --hash=sha256:0
+numpy==2.5.0 ; python_version < '3.13' \\
+    --hash=sha256:1
-gone==1.0
+new==0.1
"""
OUTDATED = "Package Version Latest Type\n------- ------- ------ -----\nsame    3.0     4.0    wheel\n"


def test_what_works_says_what_moved_and_what_is_held_back() -> None:
    told = notice_of(DIFFERENCE, OUTDATED, "")
    assert not told.attention
    assert "```diff\n-numpy==2.4.0\n+numpy==2.5.0\n-gone==1.0\n+new==0.1\n```" in told.body
    assert "same    3.0     4.0" in told.body


def test_what_breaks_shows_the_end_of_what_was_said() -> None:
    told = notice_of(DIFFERENCE, "", "\n".join(f"line {number}" for number in range(100)))
    assert told.attention
    assert "line 99" in told.body
    assert "line 0\n" not in told.body
    assert "Held back" not in told.body


def test_nothing_new_says_so() -> None:
    assert "already has the newest versions" in notice_of("", "", "").body
