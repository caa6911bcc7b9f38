from configparser import ConfigParser
from setuptools import setup

cfg = ConfigParser()
cfg.read('settings.ini', encoding='utf-8')
base = cfg['DEFAULT']
extras = {name: needs.split() for name, needs in cfg['extras'].items() if name not in base}

setup(python_requires='>=' + base['min_python'], install_requires=base['requirements'].split(), extras_require=extras)
