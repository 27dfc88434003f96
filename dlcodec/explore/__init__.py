"""A page of one file's decodes: a slider over tau, comparisons, and a map of what each tau changed."""
