/* For programs of an architecture whose calls are not watched: without a library that it can load, the dynamic linker prints
   an error into the program's output. Version 0 says that this one wants no auditing (rtld-audit(7), la_version). */
__attribute__((used)) static const char sources[] = "gpucheck sources: " SOURCES;

__attribute__((visibility("default"))) unsigned la_version(unsigned version) {
    (void)version;
    return 0;
}
