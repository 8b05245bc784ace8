"""The OpenSearch releases that can be assembled: the newest whose plugins are all there, and the second line.

## Decisions
2026-11-21: ICU4J and its locale providers stand beside the engine's own jars. The engine builds every analyzer before
it makes its first index, the Thai one among them, and that one needs word breaks that only the JDK's optional
jdk.localedata module has. The JRE from PyPI comes without it; ICU4J gives the same through Java's provider interface.
"""

from __future__ import annotations

from dataclasses import replace

from rescorer_lab.engines.opensearch_modules import MODULES
from rescorer_lab.engines.release import Artifact, Release

OPENSEARCH_3_6 = Release(
    engine="opensearch",
    version="3.6.0",
    artifacts=(
        Artifact(
            coordinate="org.opensearch.distribution.integ-test-zip:opensearch:3.6.0",
            sha256="a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
            members={"opensearch-3.6.0/": ""},
        ),
        Artifact(
            coordinate="org.opensearch.plugin:opensearch-knn:3.6.0.0",
            sha256="ac392ca28a39b3bf290648a422ef30cb149dda2963a9d7feb26060e932341c9a",
            members={"": "plugins/opensearch-knn/"},
        ),
        Artifact(
            coordinate="org.opensearch.plugin:neural-search:3.6.0.0",
            sha256="6ef1b206e79391e2e36268e32dc34d27fd8b8a59a8eb0a7393c97d53b038e433",
            members={"": "plugins/opensearch-neural-search/"},
        ),
        Artifact(
            coordinate="com.ibm.icu:icu4j-localespi:77.1",
            sha256="77d0da4f10c6158174cc3dafbb51356031a09e0fcaaf0432330afb4fb552cac9",
        ),
        Artifact(
            coordinate="com.ibm.icu:icu4j:77.1",
            sha256="b3640b9f416a4411fd33c59abbeea8fd57d024c23e1819bf9673220a97499fe3",
        ),
    ),
    megabytes=195,
    licence="Apache-2.0; ICU4J: Unicode-3.0",
    java_least=21,
    variable_prefix="OPENSEARCH",
    command="bin/opensearch",
    removed=("modules/ingest-geoip",),
    dropped_jvm_options=(
        "-Xlog:gc",
        "9-:-Xlog:gc",
        "-XX:ErrorFile",
        "-XX:HeapDumpPath",
        "-XX:+HeapDumpOnOutOfMemoryError",
        "20-:--add-modules=jdk.incubator.vector",
        "--add-modules=jdk.incubator.vector",
    ),
)

OPENSEARCH_2_19 = replace(
    OPENSEARCH_3_6,
    version="2.19.6",
    artifacts=(
        Artifact(
            coordinate="org.opensearch.distribution.integ-test-zip:opensearch:2.19.6",
            sha256="71d6d8b1c637f3faecda0752b184b1cc526fc6eaad59ec1408c6327bb00b9293",
            members={"opensearch-2.19.6/": ""},
        ),
        Artifact(
            coordinate="org.opensearch.plugin:opensearch-knn:2.19.6.0",
            sha256="c21b9565624d29fd4024e3a3902712349006cb7894a73c45d976756a761e628f",
            members={"": "plugins/opensearch-knn/"},
        ),
        Artifact(
            coordinate="org.opensearch.plugin:neural-search:2.19.6.0",
            sha256="b38b136b280a219d7f4495dd5d7e11e92a528b874fe940fc8502b8a5c599c820",
            members={"": "plugins/opensearch-neural-search/"},
        ),
        *(artifact for module in MODULES for artifact in module.artifacts),
    ),
    megabytes=77,
    licence="Apache-2.0; libraries of the modules: Apache-2.0, BSD-3-Clause, MIT",
    removed=(),
    written={name: text for module in MODULES for name, text in module.written.items()},
    java_least=11,
    java_most=23,
)
