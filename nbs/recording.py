def recorded(): return 'local'
