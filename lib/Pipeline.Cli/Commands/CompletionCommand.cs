using System.CommandLine;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline completion</c>: what a shell needs to complete the rest of the command line.</summary>
internal static class CompletionCommand
{
    // Each shell asks the command itself, whose directive "suggest" answers with what may stand at a place.
    private const string Bash = """
        # Completes the pipeline command. To have it in each shell: pipeline completion bash > ~/.local/share/bash-completion/completions/pipeline
        _pipeline() {
            local word=${COMP_WORDS[COMP_CWORD]} suggestions
            suggestions=$("${COMP_WORDS[0]}" "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2> /dev/null)
            local IFS=$'\n'
            COMPREPLY=($(compgen -W "${suggestions}" -- "${word}"))
        }
        complete -o default -F _pipeline pipeline
        """;

    private const string Zsh = """
        #compdef pipeline
        # Completes the pipeline command. To have it in each shell: pipeline completion zsh > "${fpath[1]}/_pipeline"
        _pipeline() {
            local line="${(j: :)words[1,CURRENT]}"
            local -a suggestions
            suggestions=("${(@f)$("${words[1]}" "[suggest:${#line}]" "${line}" 2> /dev/null)}")
            if (( ${#suggestions[1]} )); then
                compadd -- "${suggestions[@]}"
            else
                _files
            fi
        }
        if [[ ${funcstack[1]} == _pipeline ]]; then
            _pipeline "$@"
        else
            compdef _pipeline pipeline
        fi
        """;

    private const string Fish = """
        # Completes the pipeline command. To have it in each shell: pipeline completion fish > ~/.config/fish/completions/pipeline.fish
        function __pipeline_suggestions
            set -l line (commandline -cp)
            pipeline "[suggest:"(string length -- "$line")"]" "$line" 2> /dev/null
        end
        complete -c pipeline -a '(__pipeline_suggestions)'
        """;

    public static Command Create(CommandHost host)
    {
        Argument<string> shell = new("shell") { HelpName = "bash|zsh|fish", Description = "The shell." };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        Command command = new("completion", "Print a script with which a shell completes this command and its options.") { shell };
        command.SetAction(async (arguments, _) =>
        {
            await host.Output.WriteLineAsync(arguments.GetRequiredValue(shell) switch
            {
                "bash" => Bash,
                "zsh" => Zsh,
                _ => Fish,
            });
            return ExitCode.Success;
        });
        return command;
    }
}
