"""`wsim validate`: the models beside closed forms, with standard errors. Subjects are listed in `registry`."""
