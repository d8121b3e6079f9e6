using System.Text.Json.Nodes;
using Pipeline.Experiments.Experiments;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;
using Table = Pipeline.Experiments.Measuring.Table;

namespace Pipeline.Experiments.Tests;

[TestFixture]
public sealed class ReportTests
{
    [TestCase(2.0, true)]
    [TestCase(2.001, false)]
    [TestCase(double.NaN, false)]
    public void A_figure_holds_up_to_its_limit_and_what_is_no_figure_does_not(double measured, bool holds) =>
        Assert.That(Verdict.AtMost("p99", measured, 2, "ms").Holds, Is.EqualTo(holds));

    [TestCase(85.0, true)]
    [TestCase(84.9, false)]
    [TestCase(double.NaN, false)]
    public void A_figure_holds_from_its_limit_on_and_what_is_no_figure_does_not(double measured, bool holds) =>
        Assert.That(Verdict.AtLeast("bulk", measured, 85, "%").Holds, Is.EqualTo(holds));

    [Test]
    public void A_result_holds_when_every_verdict_does()
    {
        Assert.That(MakeResult(new Verdict("a", "1", true), new Verdict("b", "2", true)).Holds, Is.True);
        Assert.That(MakeResult(new Verdict("a", "1", true), new Verdict("b", "2", false)).Holds, Is.False);
    }

    [Test]
    public void Csv_has_a_header_points_in_numbers_and_quotes_where_they_are_needed()
    {
        Table table = new("t", "T", "a", "b_ms", "c");
        table.Add(1, 0.25, "plain");
        table.Add(2L, null, "with, comma and \"quote\"");
        table.Add(true, 1234.5, "");

        Assert.That(ResultWriter.ToCsv(table), Is.EqualTo(
            "a,b_ms,c\r\n1,0.25,plain\r\n2,,\"with, comma and \"\"quote\"\"\"\r\ntrue,1234.5,\r\n"));
    }

    [Test]
    public void A_row_that_does_not_fit_its_table_is_refused() =>
        Assert.That(() => new Table("t", "T", "a", "b").Add(1), Throws.ArgumentException);

    [Test]
    public void What_is_no_number_is_null_in_json_and_a_dash_for_people()
    {
        JsonObject json = ResultWriter.ToJson(MakeResult(new Verdict("a", "1", true)));

        Assert.That(json["p99_ms"], Is.Null);
        Assert.That(json.ContainsKey("p99_ms"), Is.True);
        Assert.That((double)json["p50_ms"]!, Is.EqualTo(0.1235));
        Assert.That(Readable.Cell(double.NaN), Is.EqualTo("–"));
    }

    [TestCase(0.0, "0")]
    [TestCase(0.41349, "0.413")]
    [TestCase(12.74, "12.7")]
    [TestCase(281_300.4, "281,300")]
    [TestCase(0.00042, "0.00042")]
    public void Numbers_have_about_three_digits(double number, string text) => Assert.That(Readable.Number(number), Is.EqualTo(text));

    [Test]
    public void The_report_is_one_page_with_its_plots_inside_and_text_escaped()
    {
        ExperimentResult result = MakeResult(new Verdict("p99 < 2 ms", "3 ms", false)) with
        {
            Figures = [new Figure("f", "A caption", () => Chart.Create("Title", "x", "y").ToPng())],
        };

        string html = HtmlReport.Create([(new PriorityExperiment(), result)]);

        Assert.That(html, Does.Contain("data:image/png;base64,iVBORw0KGgo").And.Contain("p99 &lt; 2 ms").And.Contain("1 of 1 promises did not hold"));
        Assert.That(html, Does.Not.Match("(src|href)=\"(?!data:|#)"));
    }

    private static ExperimentResult MakeResult(params Verdict[] verdicts) => new("priority")
    {
        Fields = new Dictionary<string, object?> { ["p50_ms"] = 0.12349, ["p99_ms"] = double.NaN },
        Verdicts = verdicts,
    };
}
