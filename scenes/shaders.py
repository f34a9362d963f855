"""The programs that `render` runs on the graphics card, or on Mesa's software one.

Pictures are drawn upside down against GL's habit: row 0 of a buffer is the top row, so ``gl_FragCoord.xy`` counts as
pixels of the picture do. Light is linear; `tone` makes of it what a display shows.
"""

from __future__ import annotations

from scenes import patterns

HEAD = "#version 330\n" + "".join(
    f"const int {name} = {value};\n" for name, value in vars(patterns).items() if name.isupper()
)

# Brown-Conrady distortion at the vertices: what is drawn of a place is cut fine enough before. `gl_ClipDistance`
# keeps out what lies behind the camera or where the distortion folds over.
CAMERA = """
uniform mat4 view;      // world -> camera
uniform vec4 lens;      // 2 fx / W, 2 fy / H, 2 cx / W - 1, 2 cy / H - 1
uniform vec4 bend;      // k1 k2 p1 p2
uniform vec3 bend3;     // k3, square of the radius it reaches to, 1 where there is any
const float near = .1, far = 400.;
vec4 project(vec3 p) {
  vec3 c = (view * vec4(p, 1)).xyz;
  gl_ClipDistance[0] = 1.;
  if (bend3.z > 0.) {
    vec2 f = c.xy / max(c.z, 1e-3);
    float r = dot(f, f);
    if (c.z > 1e-3 && r < bend3.y) {
      f = f * (1. + r * (bend.x + r * (bend.y + r * bend3.x)))
        + 2. * bend.zw * f.x * f.y + bend.wz * (r + 2. * f * f);
      c.xy = f * c.z;
    } else gl_ClipDistance[0] = -1.;
  }
  return vec4(c.xy * lens.xy + lens.zw * c.z, (c.z * (far + near) - 2. * far * near) / (far - near), c.z);
}
"""

LIGHT = """
uniform vec3 sun, sun_colour, sky, ground;      // towards the sun; linear light; from above and from below
uniform mat4 light_place, light_people;         // world -> the two shadow maps, in [-1, 1]
uniform vec4 lamps[64];                         // where they hang, m; how bright
uniform int lamp_count;
uniform vec3 lamp_colour;
uniform vec2 side;              // where more of the light comes from that has no direction
vec3 ambient(vec3 n) { return mix(ground, sky, .5 + .5 * n.z) * (1. + .22 * dot(n.xy, side)); }
vec3 lamplight(vec3 w, vec3 n) {
  vec3 sum = vec3(0);
  for (int i = 0; i < lamp_count; i++) {
    vec3 to = lamps[i].xyz - w;
    float d2 = dot(to, to);
    // A panel and not a point: it lights what is turned a little away, and what hangs below is not much brighter.
    sum += lamps[i].w * max(dot(n, to) * inversesqrt(d2) * .75 + .25, 0.) / (d2 + 2.);
  }
  return sum * lamp_colour;
}
"""

TONE = """
uniform float exposure;
// A display's curve taken as a square: near enough to 2.2, and far cheaper.
vec3 linear(vec3 c) { return c * c; }
vec3 tone(vec3 c) {      // a shoulder for what is bright, after Reinhard et al. 2002
  c *= exposure;
  return sqrt(c * (1. + c / 9.) / (1. + .55 * c));
}
"""

NOISE = """
uniform sampler3D noise;        // 32 x 32 x 32 even chance, repeated
float chance(vec3 p) { return texture(noise, p / 32.).r; }
float cell(vec3 p) { return texelFetch(noise, ivec3(mod(p, 32.)), 0).r; }
"""

SHADOW = """
float lit(sampler2D map, vec3 q, float texel, float slack) {    // share of 9 samples that the light reaches
  if (any(greaterThan(abs(q - .5), vec3(.5)))) return 1.;
  float sum = 0.;
  for (int i = 0; i < 9; i++) {
    vec2 at = q.xy + vec2(i % 3 - 1, i / 3 - 1) * texel;
    sum += step(q.z - slack, texture(map, at).r);
  }
  return sum / 9.;
}
"""

# ------------------------------------------------------------------------------------------------------- people

PERSON_VERTEX = (
    HEAD
    + CAMERA
    + LIGHT
    + SHADOW
    + """
uniform sampler2D place_map;
uniform float place_texel, place_slack, has_sun;
uniform vec3 eye;
in vec3 a_position, a_normal, a_paint;
in vec4 a_colour, a_colour2;    // red green blue gloss; red green blue openness
in vec2 a_kind;                 // pattern, frequency
in float a_mask;
out vec3 paint, colour, colour2, shade, shine;
out vec4 shadow;
out float mask;
flat out vec2 kind;
void main() {
  paint = a_paint; mask = a_mask; kind = a_kind;
  colour = a_colour.rgb; colour2 = a_colour2.rgb;
  vec3 n = normalize(a_normal), to_eye = normalize(eye - a_position);
  if (dot(n, to_eye) < -.25) n = -n;            // the inner side of an open coat
  float open = a_colour2.a;
  shade = (ambient(n) + lamplight(a_position, n)) * open;
  float sunny = 0.;
  if (has_sun > 0.) {
    vec3 q = (light_place * vec4(a_position, 1)).xyz * .5 + .5;
    sunny = lit(place_map, q, place_texel, place_slack) * max(dot(n, sun), 0.);
  }
  float gloss = a_colour.a;
  vec3 halfway = normalize(sun + to_eye);
  float edge = pow(1. - max(dot(n, to_eye), 0.), 4.);
  shade += gloss * edge * sky * .3;
  shine = sun_colour * sunny * (1. + 0. * gloss);
  shine += sunny * sun_colour * gloss * pow(max(dot(n, halfway), 0.), 24.) * 2.;
  shadow = vec4((light_people * vec4(a_position, 1)).xyz * .5 + .5, 1);
  gl_Position = project(a_position);
}
"""
)

PERSON_FRAGMENT = (
    HEAD
    + TONE
    + NOISE
    + """
uniform sampler2D behind;       // depth of the place
uniform sampler2D people_map;
uniform float people_texel, people_slack, has_sun;
in vec3 paint, colour, colour2, shade, shine;
in vec4 shadow;
in float mask;
flat in vec2 kind;
layout(location = 0) out vec4 picture;
float wave(float u, float blur) { return mix(smoothstep(-.25, .25, sin(u * 6.2832)), .5, blur); }
void main() {
  if (mask < 0. || gl_FragCoord.z > texelFetch(behind, ivec2(gl_FragCoord.xy), 0).r) discard;
  int p = int(kind.x + .5);
  float f = kind.y, m = 0.;
  vec3 q = paint;
  float px = max(length(dFdx(q)), length(dFdy(q)));     // m in a pixel
  float blur = smoothstep(.3, .8, px * f);              // what is finer than pixels is their mean
  vec3 scale = vec3(14., 7., 14.);                      // folds
  if (p == MELANGE) scale = vec3(f);
  else if (p == DENIM) scale = vec3(60., 30., 60.);
  else if (p == CAMOUFLAGE) scale = vec3(max(f, 6.));
  float n = chance(q * scale);
  float folds = chance(q * vec3(14., 7., 14.) + 5.);
  if (p == MELANGE) m = mix(n, .5, blur);
  else if (p == STRIPES) m = wave(q.y * f, blur);
  else if (p == PINSTRIPES) m = mix(smoothstep(.36, .46, abs(fract(q.x * f) - .5)), .2, blur);
  else if (p == CHECKS) m = .5 * wave(q.x * f, blur) + .5 * wave(q.y * f, blur);
  else if (p == BLOCK) m = smoothstep(px, -px, q.y - 1. / f);
  else if (p == PRINT) {
    vec2 at = q.xy * f;
    m = q.z > 0. ? smoothstep(1.1, .9, dot(at, at)) * smoothstep(.38, .46, chance(vec3(at * 4., f))) : 0.;
  } else if (p == DOTS) { vec2 g = fract(q.xy * f) - .5; m = mix(smoothstep(.3, .22, length(g)), .22, blur); }
  else if (p == DENIM) m = n * .7;
  else if (p == CAMOUFLAGE) m = smoothstep(.45, .55, n);
  vec3 c = mix(colour, colour2, m);
  if (p == CAMOUFLAGE) c *= mix(.55, 1., smoothstep(.3, .36, folds));
  if (p == FACE) c = face(c, q);
  else c *= .80 + .32 * folds;
  float sunny = 1.;
  if (has_sun > 0.) {
    sunny = 0.;
    for (int i = 0; i < 4; i++) {
      vec2 at = shadow.xy + (vec2(i & 1, i >> 1) - .5) * people_texel;
      sunny += step(shadow.z - people_slack, texture(people_map, at).r);
    }
    sunny *= .25;
  }
  // Nothing that people wear is blacker than this.
  picture = vec4(tone((linear(c) + .011) * (shade + shine * sunny)), 1);
}
"""
)

# Brows, eyes and lips; in ``q`` (m) the pupils are at (+-.030, 0).
FACE = """
float spot(vec2 at, vec2 radii, float from, float to) { return smoothstep(to, from, length(at / radii)); }
vec3 face(vec3 c, vec3 q) {
  if (q.z < -.06) return c;
  float x = abs(q.x);
  vec2 eye = vec2(x - .030, q.y);
  float brow = smoothstep(.0036, .0018, abs(q.y - .0235 + 9. * (x - .030) * (x - .030))) * step(abs(x - .031), .020);
  float open = spot(eye, vec2(.0145, .0062), .85, 1.1);
  c = mix(c, c * vec3(1.05, .88, .86), .55 * spot(vec2(x - .042, q.y + .038), vec2(.024, .020), .2, 1.));
  c *= 1. - .20 * spot(eye - vec2(-.003, .004), vec2(.024, .017), .4, 1.2);
  c *= 1. - .10 * spot(vec2(x, q.y + .052), vec2(.012, .006), .5, 1.);
  c = mix(c, c * vec3(.90, .60, .58), spot(vec2(q.x, q.y + .068), vec2(.025, .0085), .75, 1.1));
  c *= 1. - .45 * smoothstep(.0022, .0008, abs(q.y + .0675)) * step(x, .023);
  c *= 1. - .40 * spot(vec2(x - .009, q.y + .044), vec2(.006, .0034), .6, 1.1);
  c = mix(c, vec3(.80, .78, .76) * min(1., .4 + c.r), open);
  c = mix(c, vec3(.12, .08, .06), open * spot(eye, vec2(.0064), .8, 1.05));
  c *= 1. - .5 * open * smoothstep(.002, .006, q.y);
  return mix(c, colour2, .75 * brow);
}
"""

PERSON_FRAGMENT = PERSON_FRAGMENT.replace("void main() {", FACE + "void main() {", 1)

FIGURE_VERTEX = (
    HEAD
    + CAMERA
    + """
in vec3 a_position;
in float a_mask;
out float mask;
void main() { mask = a_mask; gl_Position = project(a_position); }
"""
)

# The number of the triangle that each pixel's centre shows, from 1.
NUMBER_FRAGMENT = """#version 330
uniform sampler2D behind;       // world x y z and depth of the place
uniform float first, hides;     // number of the first triangle; 1: the place hides
in float mask;
layout(location = 0) out float number;
void main() {
  if (mask < 0.) discard;
  if (hides > 0. && 1. / gl_FragCoord.w > texelFetch(behind, ivec2(gl_FragCoord.xy), 0).w) discard;
  number = first + float(gl_PrimitiveID);
}
"""

SILHOUETTE_FRAGMENT = """#version 330
in float mask;
layout(location = 0) out float shown;
void main() { if (mask < 0.) discard; shown = 1.; }
"""

SHADOW_VERTEX = """#version 330
uniform mat4 light;
in vec3 a_position;
in float a_mask;
out float mask;
void main() { mask = a_mask; gl_Position = light * vec4(a_position, 1); }
"""

SHADOW_FRAGMENT = """#version 330
in float mask;
void main() { if (mask < 0.) discard; }
"""

# -------------------------------------------------------------------------------------------------------- places

PLACE_VERTEX = (
    HEAD
    + CAMERA
    + """
in vec3 a_position, a_normal, a_paint;
in vec4 a_colour, a_colour2;
in vec2 a_kind;
in float a_mask;
out vec3 world, normal, paint, colour, colour2;
out float mask, gloss;
flat out vec2 kind;
void main() {
  world = a_position; normal = a_normal; paint = a_paint; mask = a_mask; kind = a_kind;
  colour = a_colour.rgb; colour2 = a_colour2.rgb; gloss = a_colour.a;
  gl_Position = project(a_position);
}
"""
)

PLACE_FRAGMENT = (
    HEAD
    + LIGHT
    + TONE
    + NOISE
    + SHADOW
    + """
uniform sampler2D place_map, corners;           // shadows; how open the sky is above the floor
uniform vec4 floor_at;                          // world x, y -> texture
uniform float place_texel, place_slack, has_sun;
uniform vec3 eye, horizon;
in vec3 world, normal, paint, colour, colour2;
in float mask, gloss;
flat in vec2 kind;
layout(location = 0) out vec4 lit_picture;
layout(location = 1) out vec4 shaded_picture;
// How much of a pixel of width px lies within half of a joint's width around whole numbers.
float joint(float u, float half_width, float px) {
  float d = abs(fract(u + .5) - .5);
  return clamp((half_width - d) / max(px, 1e-5) + .5, 0., 1.) * min(1., 2. * half_width / max(px, 1e-5) + .2);
}
vec3 painted(vec3 n, float px) {
  int p = int(kind.x + .5);
  float f = kind.y > 0. ? kind.y : 1.;
  vec3 a = abs(n), c = colour;
  vec2 at = a.z > max(a.x, a.y) ? paint.xy : a.x > a.y ? paint.yz : paint.xz;
  vec3 q = vec3(at, a.z > .5 ? 0. : 11.);
  // All patterns share few looks at the noise: the software driver runs every branch.
  vec3 finest = q * 37.;
  vec2 t = at * f;
  if (p == PARQUET) { finest = vec3(at * vec2(4., 60.), 0.); t *= vec2(1., 6.); }
  else if (p == METAL) finest = vec3(at * vec2(3., 70.), 1.);
  else if (p == GRASS || p == CARPET) finest = q * 80.;
  else if (p == BRICK) t *= vec2(1., 3.);
  float row = cell(vec3(floor(t.y), 3, 0));
  if (p == PARQUET) t.x += 3. * row;
  else if (p == BRICK) t.x += .5 * mod(floor(t.y), 2.);
  float one = cell(vec3(floor(t), 4));
  float coarse = .6 * chance(q * 1.3) + .4 * chance(q * 3.1 + 7.), middle = .6 * chance(q * 7.) + .4 * coarse;
  float fine = chance(finest), grain = 1. - smoothstep(.02, .06, px);
  vec2 width = vec2(.012), soft = vec2(px * f);
  if (p == TILES) width = vec2(.008);
  else if (p == PARQUET) { width = vec2(.004, .02); soft.y *= 6.; }
  else if (p == BRICK) { width = vec2(.03, .07); soft.y *= 3.; }
  else if (p == WINDOW) width = vec2(.03);
  float j = max(joint(t.x, width.x, soft.x), joint(t.y, width.y, soft.y));
  if (p == PAVING) {
    c *= .90 + .12 * one + .16 * (coarse - .5) + .10 * (middle - .5) + .10 * (fine - .5) * grain;
    c = mix(c, colour2 * .8, j * .75);
  } else if (p == TILES) {
    c *= .96 + .05 * one + .05 * (coarse - .5);
    c = mix(c, colour2, j * .8);
  } else if (p == PARQUET) c = mix(c, colour2, .5 * one + .25 * fine * grain) * (1. - .45 * j);
  else if (p == BRICK) c = mix(c * (.80 + .30 * one + .15 * (middle - .5) + .2 * (coarse - .5)), colour2, j);
  else if (p == PLASTER) {
    c *= .95 + .10 * (coarse - .5) + .06 * (middle - .5) + .05 * (fine - .5) * grain;
    if (a.z < .5) c *= mix(.86, 1., smoothstep(0., .5, paint.z + .25 * (coarse - .5)));
  } else if (p == WINDOW) {
    vec3 to_eye = normalize(eye - world), mirrored = reflect(-to_eye, n);
    float fresnel = 1. - max(dot(n, to_eye), 0.);
    fresnel = .12 + .88 * fresnel * fresnel * fresnel * fresnel;
    vec3 seen = sqrt(mix(horizon, sky * .8, clamp(mirrored.z * 1.6, 0., 1.)));
    c = mix(mix(c * (.5 + .35 * coarse), seen * .75, fresnel * .8), colour2, j);
  } else if (p == GRASS)
    c = mix(c, colour2, .55 * coarse + .35 * middle) * (.72 + .5 * fine * grain + .25 * (1. - grain));
  else if (p == ASPHALT) {
    c *= .86 + .18 * (coarse - .5) + .12 * (middle - .5) + .28 * fine * grain + .14 * (1. - grain);
    c *= 1. - .14 * smoothstep(.60, .72, coarse);
  } else if (p == CARPET)
    c = mix(c, colour2, .3 * fine * grain + .15 * middle + .15 * (1. - grain)) * (.92 + .12 * coarse);
  else if (p == METAL) c *= .92 + .12 * fine * grain + .08 * coarse;
  else if (p == STRIPES) c = mix(c, colour2, smoothstep(-.2, .2, sin(t.y * 6.2832)));
  else if (p == CHECKS) c = mix(c, colour2, mod(floor(t.x) + floor(t.y), 2.));
  else if (p == MELANGE) c = mix(c, colour2, middle);
  else c *= .95 + .1 * coarse;
  return c;
}
void main() {
  if (mask < 0.) discard;
  vec3 n = normalize(normal), to_eye = eye - world;
  float away = length(to_eye);
  to_eye /= away;
  if (dot(n, to_eye) < 0.) n = -n;
  float px = max(length(dFdx(paint)), length(dFdy(paint)));
  vec3 c = linear(clamp(painted(n, px), 0., 1.));
  float open = 1.;
  if (n.z > .5 && world.z < .3) open = texture(corners, world.xy * floor_at.xy + floor_at.zw).r;
  else if (n.z < .5) open = mix(.72, 1., smoothstep(0., .7, world.z));
  vec3 shaded = (ambient(n) + lamplight(world, n)) * open;
  float edge = 1. - max(dot(n, to_eye), 0.);
  edge *= edge * edge * edge;
  vec3 mirror = gloss * (.03 + .5 * edge) * sky;
  vec3 shine = vec3(0);
  float toward = dot(n, sun);
  if (has_sun > 0. && toward > 0.) {
    vec3 q = (light_place * vec4(world + n * .03, 1)).xyz * .5 + .5;
    shine = sun_colour * toward * lit(place_map, q, place_texel, place_slack);
    mirror += shine * gloss * pow(max(dot(n, normalize(sun + to_eye)), 0.), 40.);
  }
  float haze = 1. - exp(-away / 600.);
  shaded_picture = vec4(tone(mix(c * shaded + mirror, horizon, haze)), 1);
  lit_picture = vec4(tone(mix(c * (shaded + shine) + mirror, horizon, haze)), 1);
}
"""
)

WHOLE_VERTEX = """#version 330
in vec2 a_corner;       // 0 or 1
void main() { gl_Position = vec4(2. * a_corner - 1., 1., 1.); }   // as far as can be
"""

SKY_FRAGMENT = (
    "#version 330\n"
    + TONE
    + """
uniform mat4 from_pixel;        // a pixel's direction in the world
uniform vec3 horizon, zenith;
layout(location = 0) out vec4 lit_picture;
layout(location = 1) out vec4 shaded_picture;
void main() {
  vec3 d = normalize((from_pixel * vec4(gl_FragCoord.xy, 1, 0)).xyz);
  lit_picture = vec4(tone(mix(horizon, zenith, smoothstep(-.05, .6, d.z))), 1);
  shaded_picture = lit_picture;
}
"""
)

# The mean of 2 x 2 samples, for both pictures of a place.
SETTLE_FRAGMENT = """#version 330
uniform sampler2D lit_samples, shaded_samples;
layout(location = 0) out vec4 lit_picture;
layout(location = 1) out vec4 shaded_picture;
vec4 mean(sampler2D s) {
  ivec2 p = 2 * ivec2(gl_FragCoord.xy);
  return .25 * (texelFetch(s, p, 0) + texelFetch(s, p + ivec2(1, 0), 0) + texelFetch(s, p + ivec2(0, 1), 0)
    + texelFetch(s, p + ivec2(1, 1), 0));
}
void main() { lit_picture = mean(lit_samples); shaded_picture = mean(shaded_samples); }
"""

# The place with the shadows of people, and the people over it.
COMPOSE_FRAGMENT = (
    "#version 330\n"
    + SHADOW
    + """
uniform sampler2D lit_picture, shaded_picture, where, people, people_map, feet;
uniform mat4 light_people;
uniform vec4 floor_at;          // world x, y -> texture
uniform float people_texel, people_slack, has_sun;
layout(location = 0) out vec4 picture;
void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  vec4 w = texelFetch(where, p, 0), c = texelFetch(lit_picture, p, 0);
  vec4 figure = .25 * (texelFetch(people, 2 * p, 0) + texelFetch(people, 2 * p + ivec2(1, 0), 0)
    + texelFetch(people, 2 * p + ivec2(0, 1), 0) + texelFetch(people, 2 * p + ivec2(1, 1), 0));
  if (w.w < 1e5) {
    if (has_sun > 0.) {
      vec3 q = (light_people * vec4(w.xyz, 1)).xyz * .5 + .5;
      c = mix(texelFetch(shaded_picture, p, 0), c, lit(people_map, q, 1.3 * people_texel, people_slack));
    }
    float low = 1. - smoothstep(.05, .35, w.z);
    c.rgb *= mix(1., texture(feet, w.xy * floor_at.xy + floor_at.zw).r, low);
  }
  picture = vec4(c.rgb * (1. - figure.a) + figure.rgb, 1).bgra;
}
"""
)

PROGRAMS = {
    "person": (PERSON_VERTEX, PERSON_FRAGMENT),
    "number": (FIGURE_VERTEX, NUMBER_FRAGMENT),
    "silhouette": (FIGURE_VERTEX, SILHOUETTE_FRAGMENT),
    "shadow": (SHADOW_VERTEX, SHADOW_FRAGMENT),
    "place": (PLACE_VERTEX, PLACE_FRAGMENT),
    "sky": (WHOLE_VERTEX, SKY_FRAGMENT),
    "settle": (WHOLE_VERTEX, SETTLE_FRAGMENT),
    "compose": (WHOLE_VERTEX, COMPOSE_FRAGMENT),
}
# By program, what it reads from texture unit 0 on; those of one name are at one place.
TEXTURES = {
    "person": ("behind", "people_map", "place_map", "noise"),
    "number": ("behind",),
    "place": ("place_map", "corners", "", "noise"),
    "settle": ("lit_samples", "shaded_samples"),
    "compose": ("lit_picture", "people_map", "shaded_picture", "where", "people", "feet"),
}
