using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using Tomlyn;
using Tomlyn.Parsing;
using Tomlyn.Syntax;

namespace Pipeline.Hosting.Configuration;

/// <summary>Something that a TOML file says.</summary>
/// <param name="Name">The key, with the tables that it is in before it: <c>p2p.send_rate</c>.</param>
/// <param name="Line">Where it is, from 1.</param>
/// <param name="Text">The value of a text, number or truth value; null when it is something else.</param>
/// <param name="What">What it is, when it is something else: "a table".</param>
internal sealed record TomlEntry(string Name, int Line, string? Text, string What);

/// <summary>What a TOML file says, in its order, or what is wrong with it.</summary>
/// <param name="Entries">Tables, and what is in them.</param>
/// <param name="Errors">Sentences that begin with the file's name; with one there are no entries.</param>
internal sealed record TomlFile(ImmutableArray<TomlEntry> Entries, ImmutableArray<string> Errors)
{
    public const string Table = "a table";

    // One of CometBFT has 20 KB.
    private const int MaxSize = 1 << 20;

    // What comes after the first few mostly comes from them.
    private const int MaxErrors = 10;

    /// <summary>Reads a file; null when there is none. Nothing that a file holds makes it throw.</summary>
    public static TomlFile? Read(string path)
    {
        if (Directory.Exists(path))
        {
            return Wrong($"{path} is a folder; expected is a file.");
        }

        byte[] content;
        try
        {
            using FileStream file = File.OpenRead(path);
            content = new byte[MaxSize + 1];
            int length = file.ReadAtLeast(content, content.Length, throwOnEndOfStream: false);
            if (length > MaxSize)
            {
                return Wrong($"{path} is larger than {MaxSize >> 20} MiB, which is too large for a configuration.");
            }

            Array.Resize(ref content, length);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Wrong($"{path} cannot be read: {e.Message}");
        }

        try
        {
            return Parse(path, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetString(content));
        }
        catch (DecoderFallbackException e)
        {
            int line = content.AsSpan(0, Math.Max(e.Index, 0)).Count((byte)'\n') + 1;
            return Wrong($"{path}:{line}: This is not UTF-8; expected is a text file.");
        }
    }

    /// <summary>Reads what a file holds.</summary>
    public static TomlFile Parse(string path, string text)
    {
        DocumentSyntax document;
        try
        {
            // The parser fails at a backslash that is the last character.
            document = SyntaxParser.Parse(text + '\n', path, validate: true);
        }
        catch (TomlException e)
        {
            return Wrong($"{path}: {UserText.Escape(e.Message)}");
        }

        if (document.HasErrors)
        {
            return new TomlFile(
                [],
                [
                    .. document.Diagnostics
                        .Where(diagnostic => diagnostic.Kind == DiagnosticMessageKind.Error)
                        .DistinctBy(diagnostic => diagnostic.Span.Start.Line)
                        .Take(MaxErrors)
                        .Select(diagnostic => string.Create(
                            CultureInfo.InvariantCulture,
                            $"{path}:{diagnostic.Span.Start.Line + 1}:{diagnostic.Span.Start.Column + 1}: {UserText.Escape(diagnostic.Message)}.")),
                ]);
        }

        ImmutableArray<TomlEntry>.Builder entries = ImmutableArray.CreateBuilder<TomlEntry>();
        AddAll("", document.KeyValues);
        foreach (TableSyntaxBase table in document.Tables)
        {
            string name = NameOf(table.Name);
            entries.Add(new TomlEntry(name, LineOf(table), Text: null, table is TableArraySyntax ? "an array of tables" : Table));
            AddAll(name + ".", table.Items);
        }

        return new TomlFile(entries.ToImmutable(), []);

        void AddAll(string prefix, IEnumerable<KeyValueSyntax> items)
        {
            foreach (KeyValueSyntax item in items)
            {
                Add(prefix, item);
            }
        }

        void Add(string prefix, KeyValueSyntax item)
        {
            string name = prefix + NameOf(item.Key);
            (string? value, string what) = item.Value switch
            {
                StringValueSyntax text => (text.Value, ""),
                IntegerValueSyntax number => (number.Value.ToString(CultureInfo.InvariantCulture), ""),
                BooleanValueSyntax truth => (truth.Value ? "true" : "false", ""),
                FloatValueSyntax number => (number.Value.ToString(CultureInfo.InvariantCulture), ""),
                ArraySyntax => ((string?)null, "an array"),
                InlineTableSyntax => (null, Table),
                _ => (null, "a date or time"),
            };
            entries.Add(new TomlEntry(name, LineOf(item), value, what));
            if (item.Value is InlineTableSyntax table)
            {
                AddAll(name + ".", table.Items.Select(inline => inline.KeyValue!));
            }
        }
    }

    private static TomlFile Wrong(string error) => new([], [error]);

    private static int LineOf(SyntaxNode node) => node.Span.Start.Line + 1;

    private static string NameOf(KeySyntax? key) =>
        key is null ? "" : string.Join('.', [PartOf(key.Key), .. key.DotKeys.Select(item => PartOf(item.Key))]);

    private static string PartOf(BareKeyOrStringValueSyntax? part) => part switch
    {
        BareKeySyntax bare => bare.Key?.Text ?? "",
        StringValueSyntax quoted => quoted.Value ?? "",
        _ => "",
    };
}
