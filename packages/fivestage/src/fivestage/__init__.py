"""The library under a Fivestage project: everything that is not the owner's to edit."""

from fivestage.common.threads import limit_threads

limit_threads()  # here, so that no part of the library can load OpenMP or BLAS before
