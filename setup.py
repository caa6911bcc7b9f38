from configparser import ConfigParser
from setuptools import setup

cfg = ConfigParser()
cfg.read('settings.ini', encoding='utf-8')
base = cfg['DEFAULT']
extras = {name: cfg['extras'][name].split() for name in ('local', 'pages', 'cli', 'sandbox', 'dev')}

setup(python_requires='>=' + base['min_python'], install_requires=base['requirements'].split(), extras_require=extras)
