"""The service: jobs over HTTP, kept in a database and a folder each, run in processes of their own.

| module | holds |
|---|---|
| `kinds/` | what can be asked: one file and one registration for each kind of job |
| `settings`, `folder`, `store` | where things are; a job's files; the table of jobs |
| `nursery`, `worker` | the process that jobs are forked from; what a job's process does |
| `dispatcher` | starts jobs, watches them, ends them, and recovers them after a crash |
| `uploads`, `security`, `events`, `app` | the HTTP side |
| `web/` | the page |

It needs the extra `repairsolver[service]`; the processes of the jobs do not.
"""
