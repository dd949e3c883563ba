"""Pages whose content React makes: the manual's script and hook, in a component that shows what the hook tells."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ..support.patience import PATIENCE_SECONDS
from .pages import Page
from .visitor import Step

_COMPONENT = """
import {{ StrictMode }} from "react";
import {{ createRoot }} from "react-dom/client";

{code}

const chatId = new URLSearchParams(location.search).get("chat");
const given = await loadFirst();

function Chat() {{
  const {{ messages, isBusy, error, send, stop }} = useShown(chatId, given);
  const submit = (event) => {{
    event.preventDefault();
    send(event.target.text.value);
  }};
  return (
    <main aria-busy={{isBusy}}>
      {{messages.map(({{ id, role, parts }}) => (
        <article key={{id}} className={{role}}>
          {{parts.map((part) => part.text ?? part.content)}}
        </article>
      ))}}
      <form onSubmit={{submit}}>
        <textarea name="text" />
        <button>Send</button>
      </form>
      <button onClick={{stop}}>Stop</button>
      {{error && <p role="alert">{{error.message}}</p>}}
    </main>
  );
}}

createRoot(document.getElementById("root")).render(<StrictMode><Chat /></StrictMode>);
"""


def bundle(project: Path, name: str, code: str) -> None:
    """Make the script of the page ``name``: for browsers, in React's development mode, with the packages it needs.

    ``code`` defines a hook ``useShown``, and ``loadFirst`` for what it is given beside the chat's id.
    """
    options = ("--bundle", "--external:/static/*", "--format=esm", "--loader=jsx", "--jsx=automatic")
    mode = '--define:process.env.NODE_ENV="development"'
    command = ["node_modules/.bin/esbuild", *options, mode, f"--outfile={name}.js"]
    source = _COMPONENT.format(code=code)
    done = subprocess.run(command, input=source, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Waits until the page shows this, and returns what it shows then or in the end.
_SHOWS = f"""
const shown = () => ({{
  isBusy: document.querySelector("main")?.ariaBusy === "true",
  messages: [...document.querySelectorAll("article")].map((one) => [one.className, one.textContent]),
}});
export default async (expected) => {{
  const deadline = Date.now() + {PATIENCE_SECONDS * 800};
  while (JSON.stringify(shown()) !== JSON.stringify(expected) && Date.now() < deadline) {{
    await new Promise((resolve) => setTimeout(resolve, 10));
  }}
  return shown();
}};
"""


class ReactPage(Page):
    """A page of a chat."""

    async def say(self, *steps: Step) -> None:
        await self.call("fill", selector="textarea", text=json.dumps(steps))
        await self.click('button:has-text("Send")')

    async def shows(self, *messages: tuple[str, str], is_busy: bool = False) -> None:
        """Wait until just these messages are shown, each a role and a text."""
        expected = {"isBusy": is_busy, "messages": [list(message) for message in messages]}
        shown = await self.call("run", script=_SHOWS, given=[expected])
        assert shown == expected, shown
