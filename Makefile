# What is done by hand while working; `bash .ci/run` does all of it, and more, in fresh environments.
.PHONY: test export types readme docs check-site record clean

test:    ## Run the notebooks in replay, then pytest
	nbdev-test
	pytest -n auto

export:  ## Write llmchat/*.py from the notebooks, their stubs, and the notebooks without what is not theirs
	nbdev-export
	nbdev-clean
	python tools/stubs.py

types:   ## Check the stubs, against what they describe, too, and a user's scripts; wants `pip install -e '.[types]'`
	mypy
	mypy --package llmchat
	python -m mypy.stubtest llmchat --mypy-config-file pyproject.toml --allowlist tests/stubtest.txt
	pytest tests/test_types.py

readme:  ## Write README.md from nbs/index.ipynb
	python tools/readme.py

docs:    ## Build the site into _docs
	python tools/docs.py

check-site: docs ## Look at every page in a real browser; wants Chromium, npm and `pip install -e '.[site]'`
	LLMCHAT_SITE=_docs pytest tests/test_site.py

record:  ## Ask every question of the notebooks again and store the replies (CONTRIBUTING.md says whom)
	python nbs/recording.py
	python tools/readme.py

clean:   ## Remove what is built
	rm -rf _docs _proc build dist *.egg-info nbs/nbdev.yml nbs/sidebar.yml .mypy_cache .pytest_cache
