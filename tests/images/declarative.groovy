// Runs Jenkinsfiles against a strict model of the declarative syntax, which is smaller than Jenkins' own: what it does
// not know it refuses, `script` and whatever else carries logic included. One line of JSON per file given:
// {"stages": [...]} or {"error": "..."}.  Source: https://www.jenkins.io/doc/book/pipeline/syntax/
import groovy.json.JsonOutput

class Refused extends RuntimeException {
    Refused(String message) { super(message) }
}

/** What answers inside a block `{ ... }`: each call and each bare word goes to the handler of its name, or is refused. */
class Block extends GroovyObjectSupport {
    private final String where
    private final Map<String, Closure> handlers
    private final Set<String> repeatable
    private final Set<String> seen = new LinkedHashSet<>()

    /** Runs a block; the names that were called in it. */
    static Set<String> run(String where, Map<String, Closure> handlers, Closure body, List<String> repeatable = []) {
        Block block = new Block(where, handlers, repeatable)
        body.delegate = block
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body.call()
        block.@seen
    }

    private Block(String where, Map<String, Closure> handlers, List<String> repeatable) {
        this.@where = where
        this.@handlers = handlers
        this.@repeatable = repeatable as Set
    }

    Object invokeMethod(String name, Object arguments) {
        Closure handler = this.@handlers.get(name)
        if (handler == null) throw new Refused("${this.@where}: unknown '${name}'")
        if (!this.@seen.add(name) && !this.@repeatable.contains(name)) throw new Refused("${this.@where}: '${name}' twice")
        try {
            handler.call(*(arguments as Object[]))
        } catch (MissingMethodException wrong) {
            String given = (arguments as Object[]).collect { it.getClass().simpleName }.join(', ')
            throw new Refused("${this.@where}: '${name}' does not take (${given})")
        }
    }

    Object getProperty(String name) {
        if (name in ['any', 'none']) return new Word(name)
        throw new Refused("${this.@where}: unknown word '${name}'")
    }
}

class Word {
    final String text
    Word(String text) { this.text = text }
}

class Model {
    static final List<String> CONDITIONS = ['always', 'changed', 'fixed', 'regression', 'aborted', 'failure', 'success',
                                            'unstable', 'unsuccessful', 'cleanup']

    static String text(String where, Object value) {
        if (value instanceof String && value) return value
        throw new Refused("${where}: expected a literal text, not ${value.getClass().simpleName}")
    }

    static void need(String where, Set<String> seen, List<String> names) {
        names.each { if (!(it in seen)) throw new Refused("${where}: '${it}' is missing") }
    }

    static void allow(String where, Map given, List<String> names) {
        given.each { key, value -> if (!(key in names)) throw new Refused("${where}: unknown '${key}'") }
    }

    static Closure agent(String where, Map node) {
        return { Object what ->
            if (what instanceof Word) {
                node.agent = what.text
            } else if (what instanceof Closure) {
                need("${where}: agent", Block.run("${where}: agent", [label: { Object label ->
                    node.agent = text("${where}: label", label)
                }], what), ['label'])
            } else {
                throw new Refused("${where}: agent takes any, none or a block")
            }
        }
    }

    static List<String> steps(String where, Closure body) {
        List<String> commands = []
        Set<String> seen = Block.run(where, [
            sh              : { Object command -> commands << text("${where}: sh", command) },
            archiveArtifacts: { Map how -> allow("${where}: archiveArtifacts", how, ['artifacts', 'fingerprint']) },
        ], body, ['sh'])
        if (!seen) throw new Refused("${where}: nothing to do")
        commands
    }

    static Closure post(String where) {
        return { Closure body ->
            Map<String, Closure> handlers = CONDITIONS.collectEntries { condition ->
                [(condition): { Closure block -> steps("${where}: post ${condition}", block) }]
            }
            if (!Block.run("${where}: post", handlers, body)) throw new Refused("${where}: post is empty")
        }
    }

    static Closure options(String where) {
        return { Closure body ->
            Block.run("${where}: options", [
                timestamps             : { -> },
                disableConcurrentBuilds: { Map how = [:] -> allow("${where}: disableConcurrentBuilds", how, ['abortPrevious']) },
                logRotator             : { Map how ->
                    allow("${where}: logRotator", how, ['daysToKeepStr', 'numToKeepStr', 'artifactDaysToKeepStr', 'artifactNumToKeepStr'])
                    how
                },
                buildDiscarder         : { Map how -> },
                timeout                : { Map how ->
                    allow("${where}: timeout", how, ['time', 'unit'])
                    java.util.concurrent.TimeUnit.valueOf(how.unit)
                },
            ], body)
        }
    }

    static void stages(String where, Closure body, List<Map> into, String inherited) {
        Set<String> seen = Block.run("${where}: stages", [stage: { Object given, Closure stage ->
            String name = text("${where}: stage", given)
            if (into.any { it.name == name }) throw new Refused("${where}: stage '${name}' twice")
            into << runStage(name, stage, inherited)
        }], body, ['stage'])
        if (!seen) throw new Refused("${where}: stages is empty")
    }

    static Map runStage(String name, Closure body, String inherited) {
        String where = "stage '${name}'"
        Map node = [name: name, agent: inherited]
        // Looked at after the rest of the block, because `agent` may come last in it.
        Closure work
        Set<String> seen = Block.run(where, [
            agent  : agent(where, node),
            options: options(where),
            post   : post(where),
            steps  : { Closure block -> work = {
                if (node.agent == 'none') throw new Refused("${where}: steps without an agent")
                node.commands = steps(where, block)
            } },
            matrix : { Closure block -> work = { runMatrix("${where}: matrix", block, node) } },
            stages : { Closure block -> work = { node.stages = []; stages(where, block, node.stages, node.agent) } },
        ], body)
        List<String> kinds = seen.findAll { it in ['steps', 'matrix', 'stages'] } as List
        if (kinds.size() != 1) throw new Refused("${where}: expected one of steps, matrix, stages, found ${kinds.join(', ') ?: 'none'}")
        work.call()
        node
    }

    static void runMatrix(String where, Closure body, Map node) {
        node.axes = [:]
        node.stages = []
        Closure nested
        Set<String> seen = Block.run(where, [
            agent : agent(where, node),
            axes  : { Closure axes ->
                Set<String> found = Block.run("${where}: axes", [axis: { Closure axis -> runAxis("${where}: axis", axis, node.axes) }], axes, ['axis'])
                if (!found) throw new Refused("${where}: axes is empty")
            },
            stages: { Closure block -> nested = block },
        ], body)
        need(where, seen, ['axes', 'stages'])
        stages(where, nested, node.stages, node.agent)
    }

    static void runAxis(String where, Closure body, Map axes) {
        String name
        List<String> values
        need(where, Block.run(where, [
            name  : { Object given -> name = text(where, given) },
            values: { Object... given -> values = given.collect { text(where, it) } },
        ], body), ['name', 'values'])
        axes[name] = values
    }

    static Map runPipeline(Closure body) {
        Map node = [stages: []]
        Closure nested
        need('pipeline', Block.run('pipeline', [
            agent  : agent('pipeline', node),
            options: options('pipeline'),
            post   : post('pipeline'),
            stages : { Closure block -> nested = block },
        ], body), ['agent', 'stages'])
        stages('pipeline', nested, node.stages, node.agent)
        [stages: node.stages]
    }
}

abstract class Declarative extends Script {
    Map found

    void pipeline(Closure body) {
        if (found != null) throw new Refused("pipeline twice")
        found = Model.runPipeline(body)
    }
}

def configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: Declarative.name)
def shell = new GroovyShell(this.class.classLoader, new Binding(), configuration)
args.each { file ->
    Map answer
    try {
        def script = shell.parse(new File(file).text, "Submitted.groovy")
        script.run()
        answer = script.found ?: [error: 'no pipeline block']
    } catch (Refused refused) {
        answer = [error: refused.message]
    } catch (org.codehaus.groovy.control.CompilationFailedException | GroovyRuntimeException | IllegalArgumentException refused) {
        answer = [error: refused.message.readLines().find { it && it != 'startup failed:' }]
    }
    println JsonOutput.toJson(answer)
}
