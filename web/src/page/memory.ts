/** Choices that a person makes once, kept by the browser where it allows that. */

const PREFIX = "earthwords.";

export function remembered(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // a browser that keeps nothing still shows the page
  }
}
