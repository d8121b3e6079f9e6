using System.Collections.Immutable;

namespace Pipeline.Hosting.Configuration;

/// <summary>A configuration cannot be used.</summary>
public sealed class ConfigurationException : Exception
{
    internal ConfigurationException(params ImmutableArray<string> errors)
        : base(string.Join(Environment.NewLine, errors)) => Errors = errors;

    /// <summary>All that is wrong, at least one: sentences that name the file and line, the variable or the option, and what would be right.</summary>
    public ImmutableArray<string> Errors { get; }
}
