using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Pipeline.Experiments.Measuring;
using Spectre.Console;
using Table = Pipeline.Experiments.Measuring.Table;

namespace Pipeline.Experiments.Output;

/// <summary>Results for people, for programs, and for files.</summary>
internal static class ResultWriter
{
    private static readonly JsonSerializerOptions JsonOptions = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>One JSON object, with the fields first.</summary>
    public static JsonObject ToJson(ExperimentResult result)
    {
        JsonObject json = new() { ["test"] = result.Test };
        foreach ((string name, object? value) in result.Fields)
        {
            json[name] = ToNode(value);
        }

        json["promises"] = new JsonArray([.. result.Verdicts.Select(verdict => new JsonObject
        {
            ["promise"] = verdict.Promise,
            ["measured"] = verdict.Measured,
            ["holds"] = verdict.Holds,
        })]);
        json["holds"] = result.Holds;
        json["tables"] = new JsonObject(result.Tables.Where(table => !table.IsSeries).Select(table =>
            KeyValuePair.Create(table.Name, (JsonNode?)new JsonArray([.. table.Rows.Select(row => ToJson(table.Columns, row))]))));
        json["machine"] = ToJson(Machine.Describe());
        return json;
    }

    public static void WriteJson(TextWriter output, JsonObject json) => output.WriteLine(json.ToJsonString(JsonOptions));

    /// <summary>Tables, and what holds.</summary>
    public static void Print(IAnsiConsole console, ExperimentResult result)
    {
        foreach (Table table in result.Tables.Where(table => !table.IsSeries))
        {
            Spectre.Console.Table printed = new() { Border = TableBorder.Rounded, Title = new TableTitle(Markup.Escape(table.Title)) };
            for (int column = 0; column < table.Columns.Count; column++)
            {
                bool isNumber = table.Rows.Exists(row => row[column] is int or long or double);
                printed.AddColumn(new TableColumn(Markup.Escape(Readable.Heading(table.Columns[column]))) { Alignment = isNumber ? Justify.Right : Justify.Left });
            }

            table.Rows.ForEach(row => printed.AddRow([.. row.Select(cell => Markup.Escape(Readable.Cell(cell)))]));
            console.Write(printed);
        }

        foreach (Verdict verdict in result.Verdicts)
        {
            console.MarkupLine(verdict.Holds
                ? $"[green]holds[/]   {Markup.Escape(verdict.Promise)}: {Markup.Escape(verdict.Measured)}"
                : $"[red]BROKEN[/]  {Markup.Escape(verdict.Promise)}: {Markup.Escape(verdict.Measured)}");
        }
    }

    /// <summary>A file for each table and each figure.</summary>
    public static IReadOnlyList<string> WriteFiles(DirectoryInfo directory, ExperimentResult result)
    {
        directory.Create();
        List<string> written = [];
        foreach (Table table in result.Tables)
        {
            written.Add(PathOf(table.Name, "csv"));
            File.WriteAllText(written[^1], ToCsv(table));
        }

        foreach (Figure figure in result.Figures)
        {
            written.Add(PathOf(figure.Name, "png"));
            File.WriteAllBytes(written[^1], figure.Draw());
        }

        return written;

        string PathOf(string name, string extension) =>
            Path.Combine(directory.FullName, name == result.Test ? $"{result.FilePrefix}.{extension}" : $"{result.FilePrefix}-{name}.{extension}");
    }

    /// <summary>Comma separated, after RFC 4180; a header line, numbers with a point.</summary>
    public static string ToCsv(Table table)
    {
        StringBuilder csv = new();
        csv.AppendJoin(',', table.Columns).Append("\r\n");
        foreach (object?[] row in table.Rows)
        {
            csv.AppendJoin(',', row.Select(ToCell)).Append("\r\n");
        }

        return csv.ToString();
    }

    private static string ToCell(object? value)
    {
        string text = value switch
        {
            null => "",
            true => "true",
            false => "false",
            IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
            _ => value.ToString()!,
        };
        return text.AsSpan().ContainsAny(",\"\r\n") ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : text;
    }

    private static JsonObject ToJson(IReadOnlyDictionary<string, object?> fields) =>
        new(fields.Select(field => KeyValuePair.Create(field.Key, ToNode(field.Value))));

    private static JsonObject ToJson(IReadOnlyList<string> names, object?[] values) =>
        new(names.Select((name, i) => KeyValuePair.Create(name, ToNode(values[i]))));

    // More digits than were measured help nobody; what is no number is null, because JSON has no other way to say so.
    private static JsonNode? ToNode(object? value) => value switch
    {
        null => null,
        double number => double.IsFinite(number) ? JsonValue.Create(Math.Abs(number) < 100 ? Math.Round(number, 4) : Math.Round(number, 1)) : null,
        int number => JsonValue.Create(number),
        long number => JsonValue.Create(number),
        bool truth => JsonValue.Create(truth),
        IEnumerable<int> numbers => new JsonArray([.. numbers.Select(number => JsonValue.Create(number))]),
        _ => JsonValue.Create(value.ToString()),
    };
}
