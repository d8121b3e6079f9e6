using System.Net;
using System.Reflection;
using System.Text;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Output;

/// <summary>All experiments as one page that needs no other file.</summary>
internal static class HtmlReport
{
    // A longer table is folded away.
    private const int MostRowsShown = 12;

    public static string Create(IReadOnlyList<(Experiment Experiment, ExperimentResult Result)> experiments)
    {
        StringBuilder html = new();
        Verdict[] all = [.. experiments.SelectMany(entry => entry.Result.Verdicts)];
        int broken = all.Count(verdict => !verdict.Holds);
        html.Append($"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Pipeline under load</title>
            <style>
            {FontFace("Roboto-Regular.ttf", 400)}
            {FontFace("Roboto-Bold.ttf", 700)}
            {ReadText("report.css")}
            </style>
            </head>
            <body>
            <header>
            <h1>Pipeline under load</h1>
            <p>{experiments.Count} experiments, each with both ends in one process, over loopback TCP with encryption.
            {(broken == 0 ? $"All {all.Length} promises hold." : $"{broken} of {all.Length} promises did not hold in this run.")}</p>
            <dl>
            """);
        foreach ((string name, object? value) in Machine.Describe())
        {
            html.Append($"<div><dt>{Text(name)}</dt><dd>{Text(Readable.Cell(value))}</dd></div>\n");
        }

        html.Append("</dl>\n</header>\n<main>\n<section>\n<h2>What was promised, and what was measured</h2>\n<table class=\"verdicts\">\n");
        html.Append("<thead><tr><th>Experiment</th><th>Promise</th><th>Measured</th><th></th></tr></thead>\n<tbody>\n");
        for (int i = 0; i < experiments.Count; i++)
        {
            (Experiment experiment, ExperimentResult result) = experiments[i];
            for (int row = 0; row < result.Verdicts.Count; row++)
            {
                Verdict verdict = result.Verdicts[row];
                string heading = row > 0 ? "" : $"<th scope=\"rowgroup\" rowspan=\"{result.Verdicts.Count}\"><a href=\"#e{i}\">{Text(experiment.Title)}</a></th>";
                html.Append($"<tr>{heading}<td>{Text(verdict.Promise)}</td><td>{Text(verdict.Measured)}</td><td>{Mark(verdict)}</td></tr>\n");
            }
        }

        html.Append("</tbody>\n</table>\n</section>\n");
        for (int i = 0; i < experiments.Count; i++)
        {
            AppendExperiment(html, i, experiments[i].Experiment, experiments[i].Result);
        }

        return html.Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void AppendExperiment(StringBuilder html, int number, Experiment experiment, ExperimentResult result)
    {
        html.Append($"<section id=\"e{number}\">\n<h2>{Text(experiment.Title)}</h2>\n<p>{Text(experiment.Description)}</p>\n<ul class=\"promises\">\n");
        foreach (Verdict verdict in result.Verdicts)
        {
            html.Append($"<li>{Mark(verdict)} <span>{Text(verdict.Promise)}: <strong>{Text(verdict.Measured)}</strong></span></li>\n");
        }

        html.Append("</ul>\n");
        foreach (Figure figure in result.Figures)
        {
            html.Append($"<figure><img alt=\"{Text(figure.Caption)}\" src=\"data:image/png;base64,{Convert.ToBase64String(figure.Draw())}\">");
            html.Append($"<figcaption>{Text(figure.Caption)}</figcaption></figure>\n");
        }

        foreach (Table table in result.Tables.Where(table => !table.IsSeries))
        {
            AppendTable(html, table);
        }

        html.Append("</section>\n");
    }

    private static void AppendTable(StringBuilder html, Table table)
    {
        bool isLong = table.Rows.Count > MostRowsShown;
        html.Append(isLong ? $"<details><summary>{Text(table.Title)}, {table.Rows.Count} rows</summary>\n" : "");
        html.Append($"<div class=\"scroll\"><table>\n{(isLong ? "" : $"<caption>{Text(table.Title)}</caption>\n")}<thead><tr>");
        for (int column = 0; column < table.Columns.Count; column++)
        {
            bool isNumber = table.Rows.Exists(row => row[column] is int or long or double);
            html.Append($"<th{(isNumber ? " class=\"number\"" : "")}>{Text(Readable.Heading(table.Columns[column]))}</th>");
        }

        html.Append("</tr></thead>\n<tbody>\n");
        foreach (object?[] row in table.Rows)
        {
            html.Append("<tr>");
            foreach (object? cell in row)
            {
                html.Append($"<td{(cell is null or int or long or double ? " class=\"number\"" : "")}>{Text(Readable.Cell(cell))}</td>");
            }

            html.Append("</tr>\n");
        }

        html.Append(isLong ? "</tbody>\n</table></div></details>\n" : "</tbody>\n</table></div>\n");
    }

    private static string Mark(Verdict verdict) =>
        verdict.Holds ? "<span class=\"mark holds\">holds</span>" : "<span class=\"mark broken\">broken</span>";

    private static string Text(string text) => WebUtility.HtmlEncode(text);

    private static string FontFace(string resource, int weight)
    {
        using Stream stream = Open(resource);
        byte[] font = new byte[stream.Length];
        stream.ReadExactly(font);
        return $"@font-face {{ font-family: Roboto; font-weight: {weight}; src: url(data:font/ttf;base64,{Convert.ToBase64String(font)}); }}";
    }

    private static string ReadText(string resource)
    {
        using StreamReader reader = new(Open(resource));
        return reader.ReadToEnd();
    }

    private static Stream Open(string resource) => Assembly.GetExecutingAssembly().GetManifestResourceStream(resource)!;
}
