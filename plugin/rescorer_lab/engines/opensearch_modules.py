"""The modules of OpenSearch 2.19, whose distribution on Maven Central has one only: jars, descriptors and policies.

From 3.x on, the distribution has them all.

## Decisions
2026-11-25: a jar that the distribution has in its ``lib`` (commons-codec) is left out of the module that wants it: the
engine refuses to start where a class comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rescorer_lab.engines.release import Artifact

VERSION = "2.19.6"
DESCRIPTOR = """description={name} module
version={version}
name={name}
classname={plugin}
java.version=11
opensearch.version={version}
custom.foldername=
extended.plugins={extends}
has.native.controller=false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One folder of ``modules``. jars: coordinate and SHA-256 of each; permissions: what its security policy grants."""

    name: str
    plugin: str
    jars: tuple[tuple[str, str], ...]
    extends: str = ""
    permissions: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its place in the home."""
        return f"modules/{self.name}"

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Its jars, each with its place in the home."""
        return tuple(
            Artifact(coordinate=coordinate, sha256=sha256, folder=self.folder) for coordinate, sha256 in self.jars
        )

    @property
    def written(self) -> Mapping[str, str]:
        """The files that its jars lack: the descriptor and, where it is granted anything, the policy."""
        fields = {"name": self.name, "version": VERSION, "plugin": self.plugin, "extends": self.extends}
        files = {f"{self.folder}/plugin-descriptor.properties": DESCRIPTOR.format_map(fields)}
        if self.permissions:
            granted = "".join(f"  permission {permission};\n" for permission in self.permissions)
            files[f"{self.folder}/plugin-security.policy"] = f"grant {{\n{granted}}};\n"
        return files


MODULES = (
    Module(
        name="lang-painless",
        plugin="org.opensearch.painless.PainlessPlugin",
        jars=(
            (
                "org.opensearch.plugin:lang-painless:2.19.6",
                "e71e6c7ef99a6f5958cd0b25367acf472cc52cd49d29e13084c5ff0b5931f717",
            ),
            (
                "org.opensearch.plugin:opensearch-scripting-painless-spi:2.19.6",
                "84e545b968151739f1915cfd2db24bf873edfd317d2848b87b61d0d60ec70869",
            ),
            ("org.antlr:antlr4-runtime:4.13.1", "54665d2838cc66458343468efc539e454fc95b46a8a04b13c6ac43fc9be63505"),
            ("org.ow2.asm:asm:9.7", "adf46d5e34940bdf148ecdd26a9ee8eea94496a72034ff7141066b3eea5c4e9d"),
            ("org.ow2.asm:asm-util:9.7", "37a6414d36641973f1af104937c95d6d921b2ddb4d612c66c5a9f2b13fc14211"),
            ("org.ow2.asm:asm-tree:9.7", "62f4b3bc436045c1acb5c3ba2d8ec556ec3369093d7f5d06c747eb04b56d52b1"),
            ("org.ow2.asm:asm-commons:9.7", "389bc247958e049fc9a0408d398c92c6d370c18035120395d4cba1d9d9304b7a"),
            ("org.ow2.asm:asm-analysis:9.7", "7bc6bcbc21379948a0c8c467fb0f864206e5b818f6bc0b546872f5c9f941556f"),
        ),
        permissions=(
            'java.lang.RuntimePermission "createClassLoader"',
            'java.lang.RuntimePermission "getClassLoader"',
        ),
    ),
    Module(
        name="analysis-common",
        plugin="org.opensearch.analysis.common.CommonAnalysisPlugin",
        jars=(
            (
                "org.opensearch.plugin:analysis-common:2.19.6",
                "187378844d92a043b935038f9ae168f7812f686b1c1c7128f8b97731baff8a1a",
            ),
        ),
        extends="lang-painless",
    ),
    Module(
        name="search-pipeline-common",
        plugin="org.opensearch.search.pipeline.common.SearchPipelineCommonModulePlugin",
        jars=(
            (
                "org.opensearch.plugin:search-pipeline-common:2.19.6",
                "bd3774100129556270928b0423149ff20be240b1498df89bd48d77bf17561782",
            ),
        ),
        extends="lang-painless",
    ),
    Module(
        name="mapper-extras",
        plugin="org.opensearch.index.mapper.MapperExtrasPlugin",
        jars=(
            (
                "org.opensearch.plugin:mapper-extras-client:2.19.6",
                "4a486870432b71a190dca3aaba91f1fba58837e4a4146b2982e8a938164a9a34",
            ),
        ),
    ),
    Module(
        name="lang-mustache",
        plugin="org.opensearch.script.mustache.MustachePlugin",
        jars=(
            (
                "org.opensearch.plugin:lang-mustache-client:2.19.6",
                "0386b19d570b85be9b60c2a1f1703131d091ca5481bcaa212b050b6d8d842bce",
            ),
            (
                "com.github.spullara.mustache.java:compiler:0.9.14",
                "99a7e7855609135006f078e6de7ee69daad9c42f98e679d56f80653cb17526b9",
            ),
        ),
        permissions=('java.lang.RuntimePermission "accessDeclaredMembers"',),
    ),
    Module(
        name="reindex",
        plugin="org.opensearch.index.reindex.ReindexPlugin",
        jars=(
            (
                "org.opensearch.plugin:reindex-client:2.19.6",
                "431d1037eadaa1fc144155b9397d4781d7b68e5b4700f68735c6a97bf52defff",
            ),
            (
                "org.opensearch.client:opensearch-rest-client:2.19.6",
                "225987b8fd88db60f0aade505bd55b1321eb302f942e15874e2192f2d47a1d98",
            ),
            (
                "org.opensearch:opensearch-ssl-config:2.19.6",
                "93e27cba4a85bc751f68a0c70146f341008ff6c63bfa43d5d3a41cbd4a99d59c",
            ),
            (
                "org.apache.httpcomponents:httpclient:4.5.14",
                "c8bc7e1c51a6d4ce72f40d2ebbabf1c4b68bfe76e732104b04381b493478e9d6",
            ),
            (
                "org.apache.httpcomponents:httpcore:4.4.16",
                "6c9b3dd142a09dc468e23ad39aad6f75a0f2b85125104469f026e52a474e464f",
            ),
            (
                "org.apache.httpcomponents:httpasyncclient:4.1.5",
                "0c1877489a9d1ba4fa50f6cfcab11d1123618858cb31d56afaab5afdd5064d99",
            ),
            (
                "org.apache.httpcomponents:httpcore-nio:4.4.16",
                "4018736ede2d321034e8517ea90baefb31831a8608afccc446d8a699fb1d00d4",
            ),
            ("commons-logging:commons-logging:1.2", "daddea1ea0be0f56978ab3006b8ac92834afeefbd9b7e4e6316fca57df0fa636"),
        ),
        permissions=('java.net.SocketPermission "*", "connect"',),
    ),
    Module(
        name="ingest-common",
        plugin="org.opensearch.ingest.common.IngestCommonPlugin",
        jars=(
            (
                "org.opensearch.plugin:ingest-common:2.19.6",
                "41362d471b010131e6f8fbefd0b5f53ba64bcf225acb287dd7f474ad475098fe",
            ),
            (
                "org.opensearch:opensearch-grok:2.19.6",
                "9ea35b11039233fc5951813632b60a325cadfddc593d75aae1ffe41f210bf0d1",
            ),
            (
                "org.opensearch:opensearch-dissect:2.19.6",
                "526c99b4a8b8f191263460f98a31ceec7d94bf059a1bb1b608f130921af827c4",
            ),
            ("org.jruby.joni:joni:2.2.1", "b3e4b657a3ed1d8f684114f6baa462d553a5932a865c1574695498dda8577748"),
            ("org.jruby.jcodings:jcodings:1.0.61", "3238c68a2f86cec53cc184ad26df8352db87bb22a419bd17fb4acdfbb0bc40f0"),
        ),
        extends="lang-painless",
    ),
    Module(
        name="parent-join",
        plugin="org.opensearch.join.ParentJoinPlugin",
        jars=(
            (
                "org.opensearch.plugin:parent-join-client:2.19.6",
                "8d60af468af626fd7b22252963c0f71f71fb0572a9796f636e508179ff0bd354",
            ),
        ),
    ),
    Module(
        name="percolator",
        plugin="org.opensearch.percolator.PercolatorPlugin",
        jars=(
            (
                "org.opensearch.plugin:percolator-client:2.19.6",
                "3a931b2089e8d6140f8b811ea8a5cbfb0cd1d2202a070c25568a7249875cd787",
            ),
        ),
    ),
    Module(
        name="rank-eval",
        plugin="org.opensearch.index.rankeval.RankEvalPlugin",
        jars=(
            (
                "org.opensearch.plugin:rank-eval-client:2.19.6",
                "dae9644b8a592a0686ffcb9842dd720babf648e4bc123269cb0b89d55067040a",
            ),
        ),
    ),
    Module(
        name="aggs-matrix-stats",
        plugin="org.opensearch.search.aggregations.matrix.MatrixAggregationPlugin",
        jars=(
            (
                "org.opensearch.plugin:aggs-matrix-stats-client:2.19.6",
                "935714f518b4a89af62d19d280f7cce9958a7fb2cfe153b86521d41a6796714a",
            ),
        ),
    ),
    Module(
        name="geo",
        plugin="org.opensearch.geo.GeoModulePlugin",
        jars=(
            ("org.opensearch.plugin:geo:2.19.6", "ef64aafe284bd228475cb519795258a43cb378c86d25da68ae47b3d743ff4725"),
        ),
    ),
)
