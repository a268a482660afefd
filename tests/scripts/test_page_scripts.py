"""What writes pages and pictures of the documentation."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imread, imsave

SCRIPTS = Path(__file__).parents[2] / "scripts"
PAGE = """# A page

```python
import matplotlib.pyplot as plt

print(f"{2 / 3:.2f}")
plt.figure(figsize=(1, 1)).savefig("empty.png", dpi=50)
```

```text
0.12
```

![Nothing](images/empty.png)
"""


def call(script, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_page_gets_what_its_code_prints_and_draws(tmp_path):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs/page.md"
    page.write_text(PAGE)
    call("run_pages.py", "docs/page.md", cwd=tmp_path)
    assert page.read_text() == PAGE.replace("0.12", "0.67")
    assert imread(tmp_path / "docs/images/empty.png").shape[:2] == (50, 50)


def test_the_picture_of_the_readme(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "samples").mkdir(parents=True)
        history = "epoch,steps,step_seconds,val_nll\n1,10,0.1,3.0\n2,10,0.3,2.0\n"
        (tmp_path / name / "history.csv").write_text(history)
        imsave(tmp_path / name / "samples/samples.png", np.zeros((8, 8)))
    call("why.py", "a", "b", "--samples=a", "--step_ms=1.5,2", "--output=why.png", cwd=tmp_path)
    assert imread(tmp_path / "why.png").shape[:2] == (323, 855)
