using System.Reflection;
using Pipeline.Experiments.Measuring;
using ScottPlot;
using ScottPlot.TickGenerators;
using SkiaSharp;

namespace Pipeline.Experiments.Output;

/// <summary>Plots of one look, which is the same on every machine.</summary>
internal static class Chart
{
    private const string FontName = "Roboto";
    private const int Width = 960;
    private const int RowHeight = 400;
    private const int Scale = 2;

    /// <summary>Colours that are told apart by most people, also by those who see few colours (after Okabe and Ito).</summary>
    public static readonly IReadOnlyList<Color> Palette =
    [
        Color.FromHex("#0072B2"), Color.FromHex("#D55E00"), Color.FromHex("#009E73"), Color.FromHex("#CC79A7"), Color.FromHex("#E69F00"),
        Color.FromHex("#56B4E9"), Color.FromHex("#5B4B8A"), Color.FromHex("#8C6D31"), Color.FromHex("#4D4D4D"), Color.FromHex("#A50F15"),
    ];

    public static readonly Color Muted = Color.FromHex("#9AA5B1");
    public static readonly Color Limit = Color.FromHex("#B00020");

    private static readonly Color Ink = Color.FromHex("#1F2933");
    private static readonly Color Soft = Color.FromHex("#616E7C");
    private static readonly Color Grid = Color.FromHex("#E4E7EB");

    static Chart()
    {
        Fonts.FontResolvers.Insert(0, new EmbeddedFonts());
        Fonts.Default = FontName;
        Fonts.Sans = FontName;
    }

    public static Plot Create(string title, string x, string y)
    {
        Plot plot = new();
        plot.Font.Set(FontName);
        plot.FigureBackground.Color = Colors.White;
        plot.DataBackground.Color = Colors.White;
        plot.Title(title, 17);
        plot.Axes.Title.Label.ForeColor = Ink;
        plot.Axes.Title.Label.Bold = true;
        plot.XLabel(x, 13);
        plot.YLabel(y, 13);
        plot.Axes.Color(Soft);
        plot.Axes.Title.Label.ForeColor = Ink;
        plot.Axes.Bottom.Label.Bold = false;
        plot.Axes.Left.Label.Bold = false;
        plot.Axes.Bottom.TickLabelStyle.FontSize = 12;
        plot.Axes.Left.TickLabelStyle.FontSize = 12;
        plot.Axes.Top.FrameLineStyle.Width = 0;
        plot.Axes.Right.FrameLineStyle.Width = 0;
        plot.Grid.MajorLineColor = Grid;
        plot.Axes.Bottom.TickGenerator = new NumericAutomatic { LabelFormatter = Readable.Number };
        plot.Axes.Left.TickGenerator = new NumericAutomatic { LabelFormatter = Readable.Number };
        plot.Axes.Right.MinimumSize = 28;
        plot.Axes.Left.MinimumSize = 82;
        plot.Axes.Margins(0.01, 0.08);
        plot.Legend.FontSize = 12.5f;
        plot.Legend.Orientation = Orientation.Horizontal;
        plot.Legend.FontColor = Ink;
        plot.Legend.OutlineWidth = 0;
        plot.Legend.ShadowColor = Colors.Transparent;
        plot.Legend.BackgroundColor = Colors.White.WithAlpha(0.85);
        return plot;
    }

    public static void Line(this Plot plot, double[] xs, double[] ys, Color color, string? label = null, float width = 2, LinePattern? pattern = null)
    {
        ScottPlot.Plottables.Scatter line = plot.Add.ScatterLine(xs, ys, color);
        line.LineWidth = width;
        line.LinePattern = pattern ?? LinePattern.Solid;
        line.LegendText = label ?? "";
    }

    public static void LineWithPoints(this Plot plot, double[] xs, double[] ys, Color color, string? label = null)
    {
        ScottPlot.Plottables.Scatter line = plot.Add.Scatter(xs, ys, color);
        line.LineWidth = 2;
        line.MarkerSize = 7;
        line.LegendText = label ?? "";
    }

    public static void Points(this Plot plot, double[] xs, double[] ys, Color color, string label)
    {
        ScottPlot.Plottables.Scatter points = plot.Add.ScatterPoints(xs, ys, color.WithAlpha(0.45));
        points.MarkerSize = 4;
        points.LegendText = label;
    }

    /// <summary>What must not be exceeded, at <paramref name="y"/>.</summary>
    public static void Threshold(this Plot plot, double y, string label)
    {
        ScottPlot.Plottables.HorizontalLine line = plot.Add.HorizontalLine(y, 1.5f, Limit, LinePattern.Dashed);
        line.LegendText = label;
    }

    /// <summary>A stretch of time in which something is different.</summary>
    public static void Span(this Plot plot, double from, double to, string label)
    {
        ScottPlot.Plottables.HorizontalSpan span = plot.Add.HorizontalSpan(from, to, Muted.WithAlpha(0.18));
        span.LineStyle.Width = 0;
        span.LegendText = label;
    }

    /// <summary>A bar a value, with its figure above it and its name below; one without a name is a gap.</summary>
    public static void Bars(this Plot plot, IReadOnlyList<(string Name, double Value, Color Color)> bars)
    {
        ScottPlot.Plottables.BarPlot group = plot.Add.Bars(bars.Select((bar, i) => new Bar
        {
            Position = i,
            Value = bar.Value,
            FillColor = bar.Color,
            LineWidth = 0,
            Size = 0.62,
            Label = bar.Name.Length == 0 ? "" : Readable.Number(bar.Value),
        }).ToArray());
        group.ValueLabelStyle.FontSize = 12.5f;
        group.ValueLabelStyle.ForeColor = Ink;
        plot.Names([.. bars.Select(bar => bar.Name)]);
        plot.Axes.SetLimitsY(0, Math.Max(bars.Max(bar => bar.Value), 1e-9) * 1.18);
        plot.Axes.SetLimitsX(-0.6, bars.Count - 0.4);
    }

    /// <summary>Writes names, and not numbers, below 0, 1, 2 …</summary>
    public static void Names(this Plot plot, IReadOnlyList<string> names)
    {
        plot.Axes.Bottom.TickGenerator = new NumericManual([.. names.Select((_, i) => (double)i)], [.. names]);
        plot.Axes.Bottom.MajorTickStyle.Length = 0;
        plot.Grid.XAxisStyle.IsVisible = false;
    }

    /// <summary>Makes the left axis logarithmic; what is plotted must be <see cref="Log(double[])"/> of the values.</summary>
    public static void LogarithmicY(this Plot plot, double least, double most)
    {
        (double[] decades, double[] minor) = TicksBetween(least, most);
        NumericManual ticks = new();
        Array.ForEach(decades, value => ticks.AddMajor(Math.Log10(value), Readable.Number(value)));
        Array.ForEach(minor, value => ticks.AddMinor(Math.Log10(value)));
        plot.Axes.Left.TickGenerator = ticks;
        plot.Axes.SetLimitsY(Math.Log10(least), Math.Log10(most));
    }

    public static double[] Log(double[] values) => [.. values.Select(Log)];

    public static double Log(double value) => Math.Log10(Math.Max(value, 1e-6));

    /// <summary>The powers of ten around <paramref name="values"/>.</summary>
    public static (double Least, double Most) Decades(params IEnumerable<double> values)
    {
        double[] positive = [.. values.Where(value => value > 0 && double.IsFinite(value))];
        return positive.Length == 0 ? (0.01, 10)
            : (Math.Pow(10, Math.Floor(Math.Log10(positive.Min()))), Math.Pow(10, Math.Ceiling(Math.Log10(positive.Max() * 1.01))));
    }

    /// <summary>
    /// Latencies by percentile, each nine as wide as the one before: the usual picture for what a mean hides. The limits are points that a
    /// curve must not be above.
    /// </summary>
    public static Plot Percentiles(
        string title,
        IReadOnlyList<(string Name, Latencies Latencies, Color Color)> curves,
        params IReadOnlyList<(double Fraction, double Milliseconds)> limits)
    {
        (string Label, double Fraction)[] marks = [("0 %", 0), ("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("99.9 %", 0.999), ("99.99 %", 0.9999)];
        Plot plot = Create(title, "of the messages took no longer", "milliseconds");
        foreach ((string name, Latencies latencies, Color color) in curves.Where(curve => curve.Latencies.Count > 0))
        {
            double[] sorted = latencies.Sorted.ToArray();
            double[] xs = [.. sorted.Select((_, i) => Nines((i + 0.5) / sorted.Length))];
            string label = curves.Count > 2 ? $"{name}: p50 {Readable.Number(latencies.P50)} ms"
                : $"{name}: p50 {Readable.Number(latencies.P50)} ms, p99 {Readable.Number(latencies.P99)} ms";
            plot.Line(xs, Log(sorted), color, label, 2.5f);
        }

        foreach ((double fraction, double milliseconds) in limits)
        {
            ScottPlot.Plottables.Marker marker = plot.Add.Marker(Nines(fraction), Log(milliseconds), MarkerShape.FilledTriangleDown, 13, Limit);
            marker.LegendText = $"limit of p{Readable.Number(fraction * 100)}";
        }

        (double least, double most) = Decades([
            .. curves.SelectMany(curve => new[] { curve.Latencies.Percentile(0.001), curve.Latencies.Max }), .. limits.Select(limit => limit.Milliseconds)]);
        plot.LogarithmicY(least, most);
        plot.Axes.Bottom.TickGenerator = new NumericManual([.. marks.Select(mark => Nines(mark.Fraction))], [.. marks.Select(mark => mark.Label)]);
        plot.Axes.SetLimitsX(0, Nines(0.9999));
        plot.LegendBelow();
        return plot;
    }

    /// <summary>Curves over named steps, with a logarithmic axis.</summary>
    public static Plot Curves(string title, string x, string unit, IReadOnlyList<string> names, params IReadOnlyList<(string Name, double[] Values)> curves)
    {
        Plot plot = CreateSteps(title, x, unit, names);
        for (int i = 0; i < curves.Count; i++)
        {
            plot.LineWithPoints([.. names.Select((_, step) => (double)step)], Log(curves[i].Values), Palette[i], curves[i].Name);
        }

        (double least, double most) = Decades(curves.SelectMany(curve => curve.Values));
        plot.LogarithmicY(least, most);
        return plot;
    }

    /// <summary>A curve over named steps, with an axis that begins at zero.</summary>
    public static Plot CurvesFromZero(string title, string x, string unit, IReadOnlyList<string> names, params IReadOnlyList<(string Name, double[] Values)> curves)
    {
        Plot plot = CreateSteps(title, x, unit, names);
        for (int i = 0; i < curves.Count; i++)
        {
            plot.LineWithPoints([.. names.Select((_, step) => (double)step)], curves[i].Values, Palette[i], curves[i].Name);
        }

        plot.Axes.SetLimitsY(0, curves.SelectMany(curve => curve.Values).DefaultIfEmpty(1).Max() * 1.1);
        return plot;
    }

    /// <summary>How often which value comes, all but the largest 0.5 %, with the middle and the 99th percentile marked.</summary>
    public static Plot Histogram(string title, string unit, double[] values)
    {
        const int Bins = 80;
        double[] sorted = [.. values.Order()];
        double width = Math.Max(Statistics.Percentile(sorted, 0.995), 1e-9) / Bins;
        int[] counts = new int[Bins];
        foreach (double value in sorted.Where(value => value < Bins * width))
        {
            counts[(int)(value / width)]++;
        }

        Plot plot = Create(title, unit, "messages");
        plot.Add.Bars(counts.Select((count, i) => new Bar { Position = (i + 0.5) * width, Value = count, Size = width, FillColor = Palette[0], LineWidth = 0 }).ToArray());
        foreach ((double fraction, Color color) in new[] { (0.5, Palette[2]), (0.99, Palette[1]) })
        {
            double value = Statistics.Percentile(sorted, fraction);
            plot.Add.VerticalLine(value, 2, color).LegendText = $"p{Readable.Number(fraction * 100)}: {Readable.Number(value)} {unit}";
        }

        plot.Axes.SetLimits(0, Bins * width, 0, Math.Max(counts.Max(), 1) * 1.08);
        plot.LegendBelow();
        return plot;
    }

    /// <summary>A latency for each message over the time at which it was sent.</summary>
    public static Plot OverTime(string title, IReadOnlyList<(string Name, Latencies Latencies, Color Color)> groups, double limit)
    {
        Plot plot = Create(title, "seconds", "milliseconds");
        foreach ((string name, Latencies latencies, Color color) in groups)
        {
            plot.Points(latencies.SentAt, Log(latencies.Milliseconds), color, name);
        }

        plot.Threshold(Log(limit), $"{Readable.Number(limit)} ms, the limit of p99");
        (double least, double most) = Decades([.. groups.SelectMany(group => new[] { group.Latencies.Percentile(0), group.Latencies.Max }), limit]);
        plot.LogarithmicY(least, most);
        plot.LegendBelow();
        return plot;
    }

    /// <summary>Names the lines below the plot, where they hide nothing.</summary>
    public static void LegendBelow(this Plot plot)
    {
        plot.Legend.TightHorizontalWrapping = true;
        plot.ShowLegend(Edge.Bottom).Padding = new PixelPadding(0, 0, 4, 0);
    }

    public static byte[] ToPng(this Plot plot) => ToPng([plot]);

    /// <summary>Plots below each other as one picture.</summary>
    public static byte[] ToPng(IReadOnlyList<Plot> rows, int rowHeight = RowHeight)
    {
        if (rows is [Plot only])
        {
            only.ScaleFactor = Scale;
            return only.GetImageBytes(Width * Scale, rowHeight * Scale, ImageFormat.Png);
        }

        using SKSurface surface = SKSurface.Create(new SKImageInfo(Width * Scale, rowHeight * rows.Count * Scale));
        for (int row = 0; row < rows.Count; row++)
        {
            using SKBitmap part = SKBitmap.Decode(ToPng([rows[row]], rowHeight));
            surface.Canvas.DrawBitmap(part, 0, row * rowHeight * Scale);
        }

        using SKImage image = surface.Snapshot();
        using SKData data = image.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    private static Plot CreateSteps(string title, string x, string unit, IReadOnlyList<string> names)
    {
        Plot plot = Create(title, x, unit);
        plot.Names(names);
        plot.Axes.SetLimitsX(-0.5, names.Count - 0.5);
        plot.LegendBelow();
        return plot;
    }

    private static double Nines(double fraction) => -Math.Log10(1 - Math.Min(fraction, 0.999999));

    private static (double[] Decades, double[] Minor) TicksBetween(double least, double most)
    {
        List<double> decades = [];
        List<double> minor = [];
        for (double decade = least; decade <= most * 1.001; decade *= 10)
        {
            decades.Add(decade);
            minor.AddRange(Enumerable.Range(2, 8).Select(step => step * decade).Where(value => value < most));
        }

        return ([.. decades], [.. minor]);
    }

    private sealed class EmbeddedFonts : IFontResolver
    {
        private readonly SKTypeface _regular = Load("Roboto-Regular.ttf");
        private readonly SKTypeface _bold = Load("Roboto-Bold.ttf");

        public SKTypeface? CreateTypeface(string fontName, FontWeight weight, FontSlant slant, FontSpacing spacing) =>
            weight >= FontWeight.SemiBold ? _bold : _regular;

        public SKTypeface? CreateTypeface(string fontName, bool bold, bool italic) => bold ? _bold : _regular;

        private static SKTypeface Load(string name)
        {
            using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)!;
            return SKTypeface.FromStream(stream);
        }
    }
}
