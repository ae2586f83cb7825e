"""The table that people read and the JSON that machines keep."""
import os
import platform


class Report:
    def __init__(self, settings):
        self.settings = settings
        self.environment = environment()  # before our own load
        self.sections = {}
        self.targets = []
        self.notes = []

    def section(self, name, columns, rows):
        """Prints a table at once, so that a long run shows what it has. `rows` are dictionaries by column."""
        self.sections[name] = rows
        cells = [[show(row.get(column)) for column in columns] for row in rows]
        widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
        print(f"\n{name}")
        for line in [columns, *cells]:
            # The first columns are names, the rest figures.
            print("  " + "  ".join(text.ljust(width) if i < 2 else text.rjust(width)
                                   for i, (text, width) in enumerate(zip(line, widths))).rstrip())

    def target(self, what, value, limit, at_least=False, unit="", runs_had_errors=False):
        """Judges one figure. `value` None: it could not be measured."""
        reached = None if value is None else (value >= limit if at_least else value <= limit)
        if runs_had_errors and reached:
            reached = False
        self.targets.append({"what": what, "value": value, "limit": limit, "comparison": ">=" if at_least else "<=",
                             "unit": unit, "errors": runs_had_errors, "reached": reached})

    def note(self, text):
        self.notes.append(text)
        print(f"  note: {text}")

    def print_targets(self):
        print("\ntargets")
        for target in self.targets:
            verdict = {True: "reached", False: "not reached", None: "not measured"}[target["reached"]]
            if target["errors"]:
                verdict += " (errors)"
            unit = f" {target['unit']}" if target["unit"] else ""
            print(f"  {verdict:<13} {target['what']}: {show(target['value'])} "
                  f"(wanted {target['comparison']} {show(target['limit'])}{unit})")

    def as_json(self):
        return {"environment": self.environment, "settings": self.settings, "sections": self.sections,
                "targets": self.targets, "notes": self.notes}


def environment():
    model = "unknown"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "load": os.getloadavg()[0]}


def show(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{count} x {name}" for name, count in value.items()) or "none"
    return str(value)
